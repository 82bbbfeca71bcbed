package streamable

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/upstream"
)

// heard is all that a reader of events made of a stream.
type heard struct {
	Data   []string
	LastID string
	Retry  time.Duration
	Err    string
}

func listenTo(r io.Reader, maxData int, left int64) heard {
	var s events
	s.open(r, maxData, left)
	var h heard
	for {
		data, err := s.next()
		if err != nil {
			h.LastID, h.Retry = s.lastID, s.retry
			if !errors.Is(err, errEnded) {
				h.Err = err.Error()
			}
			return h
		}
		h.Data = append(h.Data, string(data))
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		want     heard
	}{
		{"one", "data: {}\n\n", heard{Data: []string{"{}"}}},
		{"no space", "data:{}\n\n", heard{Data: []string{"{}"}}},
		{"only one space is taken", "data:  x\n\n", heard{Data: []string{" x"}}},
		{"CRLF", "event: message\r\nid: 7\r\ndata: a\r\n\r\n", heard{Data: []string{"a"}, LastID: "7"}},
		{"CR", "data: a\rdata: b\r\rdata: c\r\r", heard{Data: []string{"a\nb", "c"}}},
		{"mixed ends", "data: a\r\ndata: b\n\rdata: c\r\n\n", heard{Data: []string{"a\nb", "c"}}},
		{"byte order mark", "\xef\xbb\xbfdata: a\n\n", heard{Data: []string{"a"}}},
		{"byte order mark later", "data: a\n\n\xef\xbb\xbfdata: b\n\n", heard{Data: []string{"a"}}},
		{"comments", ": hi\n:\ndata: a\n: there\ndata: b\n\n", heard{Data: []string{"a\nb"}}},
		{"unknown fields", "foo: x\ndata\nDATA: y\nbar\ndata: a\n\n", heard{Data: []string{"\na"}}},
		{"other events", "event: ping\ndata: a\n\nevent: message\ndata: b\n\nevent:\ndata: c\n\n", heard{Data: []string{"b", "c"}}},
		{"last event name wins", "event: ping\nevent: message\ndata: b\n\n", heard{Data: []string{"b"}}},
		{"priming", "id: p_1\nretry: 1500\ndata:\n\n", heard{LastID: "p_1", Retry: 1500 * time.Millisecond}},
		{"retry without data counts at once", "retry: 20\n", heard{Retry: 20 * time.Millisecond}},
		{"retry bounds", "retry: 0\n\nretry: 1\n\n", heard{Retry: minRetry}},
		{"retry too long", "retry: 99999999999999999999999\n\n", heard{Retry: maxRetry}},
		{"retry no number", "retry: 10x\nretry: -5\nretry:\nretry: 1.5\n\n", heard{}},
		{"an ID counts with its event only", "id: 1\ndata: a\n\nid: 2\ndata: b\n", heard{Data: []string{"a"}, LastID: "1"}},
		{"an ID is kept", "id: 1\ndata: a\n\ndata: b\n\n", heard{Data: []string{"a", "b"}, LastID: "1"}},
		{"an ID is taken back", "id: 1\n\nid\n\n", heard{}},
		{"an ID with NUL is ignored", "id: 1\n\nid: a\x00b\n\n", heard{LastID: "1"}},
		{"an ID that no header can carry", "id: 1\n\nid: \x01\n\n", heard{}},
		{"an ID that is too long", "id: " + strings.Repeat("a", maxEventID+1) + "\n\n", heard{}},
		{"cut off", "data: a\n\ndata: b\n", heard{Data: []string{"a"}}},
		{"cut off in a line", "data: a\n\ndata", heard{Data: []string{"a"}}},
		{"nothing", "", heard{}},
		{"blank lines", "\n\n\r\n\r\r", heard{}},
		{"too much data", "data: " + strings.Repeat("x", 2001) + "\n\n", heard{Err: "an event of the server is too large: " + upstream.ErrTooLarge.Error()}},
		{"too many lines", strings.Repeat("data:\n", 2002) + "\n", heard{Err: "an event of the server is too large: " + upstream.ErrTooLarge.Error()}},
		{"a line without end", strings.Repeat(":", 10_000), heard{Err: "a line of the server is too long: " + upstream.ErrTooLarge.Error()}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			readers := map[string]io.Reader{
				"whole":        strings.NewReader(tt.in),
				"byte by byte": iotest.OneByteReader(strings.NewReader(tt.in)),
				"with the end": iotest.DataErrReader(strings.NewReader(tt.in)),
			}
			for name, r := range readers {
				if diff := cmp.Diff(tt.want, listenTo(r, 2000, math.MaxInt64)); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
			}
		})
	}
}

func TestEventsStreamLimit(t *testing.T) {
	t.Parallel()
	got := listenTo(strings.NewReader(strings.Repeat(": tick\n", 1000)), 100, 500)
	if !strings.Contains(got.Err, upstream.ErrTooLarge.Error()) {
		t.Errorf("got %+v", got)
	}
}

// Data that was handed on is not written to again.
func TestEventsOwnTheirData(t *testing.T) {
	t.Parallel()
	var s events
	s.open(strings.NewReader("data: aaaa\n\ndata: bbbb\n\n"), 100, math.MaxInt64)
	a, err := s.next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.next(); err != nil || string(a) != "aaaa" {
		t.Errorf("%v, %q", err, a)
	}
}

// reference reads a whole stream in the plainest way.
func reference(in []byte, maxData int) (data []string) {
	text := string(bytes.TrimPrefix(in, []byte("\xef\xbb\xbf")))
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(text, "\n")
	var buf, kind string
	some := false
	for _, l := range lines[:len(lines)-1] {
		if l == "" {
			if some && buf != "" && (kind == "" || kind == "message") {
				data = append(data, buf)
			}
			buf, kind, some = "", "", false
			continue
		}
		name, value, _ := strings.Cut(l, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "data":
			if some {
				buf += "\n"
			}
			buf, some = buf+value, true
		case "event":
			kind = value
		}
	}
	return data
}

func FuzzEvents(f *testing.F) {
	for _, s := range []string{"data: a\r\rdata: b\n\n", "id: 1\nevent: x\r\n: c\ndata\n\n", "\xef\xbb\xbfdata: {}\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := listenTo(bytes.NewReader(in), 1<<20, math.MaxInt64)
		pieces := listenTo(iotest.OneByteReader(bytes.NewReader(in)), 1<<20, math.MaxInt64)
		if diff := cmp.Diff(whole, pieces); diff != "" {
			t.Fatalf("the reading depends on the pieces: %s", diff)
		}
		if whole.Err != "" {
			t.Fatal(whole.Err)
		}
		if diff := cmp.Diff(reference(in, 1<<20), whole.Data); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A stream of short lines in a buffer that grew must not be searched again and
// again.
func BenchmarkEventsShortLines(b *testing.B) {
	in := append(append([]byte(": "), bytes.Repeat([]byte("x"), 1<<20)...), '\n')
	in = append(in, bytes.Repeat([]byte(":\r"), 1<<20)...)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		listenTo(bytes.NewReader(in), 2<<20, math.MaxInt64)
	}
}
