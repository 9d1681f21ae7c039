// Go's net/http as an origin that echoes (`probe serve`) and as a client (`probe ask BASE`, cases as JSON on stdin).
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"
	"time"
)

type pair [2]string

type request struct {
	Method  string `json:"method"`
	Path    string `json:"path"`
	Headers []pair `json:"headers"`
	Body    string `json:"body"`
	Chunked bool   `json:"chunked"`
}

type response struct {
	Status   int    `json:"status"`
	Headers  []pair `json:"headers"`
	Body     string `json:"body"`
	Trailers []pair `json:"trailers"`
}

func pairs(header http.Header) []pair {
	found := []pair{}
	for name, values := range header {
		for _, value := range values {
			found = append(found, pair{name, value})
		}
	}
	sort.SliceStable(found, func(a, b int) bool { return found[a][0] < found[b][0] })
	return found
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch r.URL.Path {
	case "/big":
		w.Header().Set("Content-Length", "1048576")
		io.WriteString(w, strings.Repeat("0123456789abcdef", 65536))
	case "/chunked":
		w.Header().Set("Trailer", "X-Sum")
		for range [5]int{} {
			io.WriteString(w, "hello ")
			w.(http.Flusher).Flush()
		}
		w.Header().Set("X-Sum", "30")
	case "/empty":
		w.WriteHeader(204)
	case "/missing":
		http.NotFound(w, r)
	default:
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		text, _ := json.Marshal(map[string]any{
			"method": r.Method, "target": r.RequestURI, "host": r.Host, "headers": pairs(r.Header), "body": string(body),
		})
		w.Write(text)
	}
}

func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	panic(http.Serve(listener, http.HandlerFunc(echo)))
}

func ask(base string) {
	var cases []request
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	client := &http.Client{
		Timeout:       10 * time.Second,
		Transport:     &http.Transport{DisableCompression: true, ExpectContinueTimeout: 5 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answers := []response{}
	for _, one := range cases {
		var body io.Reader
		if one.Body != "" {
			body = strings.NewReader(one.Body)
		}
		if one.Chunked {
			body = io.MultiReader(strings.NewReader(one.Body)) // of no known length
		}
		r, err := http.NewRequest(one.Method, base+one.Path, body)
		if err != nil {
			panic(err)
		}
		for _, header := range one.Headers {
			if header[0] == "Host" {
				r.Host = header[1]
			} else {
				r.Header.Add(header[0], header[1])
			}
		}
		w, err := client.Do(r)
		if err != nil {
			panic(err)
		}
		text, err := io.ReadAll(w.Body)
		if err != nil {
			panic(err)
		}
		w.Body.Close()
		answers = append(answers, response{w.StatusCode, pairs(w.Header), string(text), pairs(w.Trailer)})
	}
	json.NewEncoder(os.Stdout).Encode(answers)
}

func main() {
	if os.Args[1] == "serve" {
		serve()
	} else {
		ask(os.Args[2])
	}
}
