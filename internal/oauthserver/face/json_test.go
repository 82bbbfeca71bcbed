package face_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
)

func unmarshal(t *testing.T, b []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
}

// nowhere is a client by which nothing can be fetched.
func nowhere() *http.Client { return &http.Client{Transport: closed{}} }

type closed struct{}

func (closed) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nothing is fetched here")
}
