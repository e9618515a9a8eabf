package wipingbody

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func request(t testing.TB, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://example.test", body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestTake(t *testing.T) {
	taken, err := Take(request(t, strings.NewReader("a root")))
	if err != nil {
		t.Fatal(err)
	}
	buf := taken.(*body).buf
	if got, err := io.ReadAll(taken); string(got) != "a root" || err != nil {
		t.Errorf("it reads %q, %v", got, err)
	}
	if err := taken.Close(); err != nil || !bytes.Equal(buf, make([]byte, 6)) {
		t.Errorf("after it was closed the buffer holds %q, %v", buf, err)
	}
	if n, err := taken.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after it was closed it reads %d bytes, %v", n, err)
	}
}

func TestTakeNothing(t *testing.T) {
	for _, body := range []io.Reader{nil, http.NoBody} {
		if taken, err := Take(request(t, body)); taken != http.NoBody || err != nil {
			t.Errorf("%v, %v", taken, err)
		}
	}
	short := request(t, strings.NewReader("a root"))
	short.ContentLength = 7
	if _, err := Take(short); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body that ends early: %v", err)
	}
}

func ExampleTake() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	defer server.Close()
	req := httptest.NewRequest(http.MethodPost, server.URL, strings.NewReader("wiped when it was sent"))
	req.RequestURI = ""
	body, err := Take(req)
	if err != nil {
		panic(err)
	}
	req.Body = body
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	echo, _ := io.ReadAll(resp.Body)
	fmt.Println(string(echo))
	// Output: wiped when it was sent
}
