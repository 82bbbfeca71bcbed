package clients

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/limit"
	"github.com/munjigi/munjigi/internal/oauthserver"
)

// How documents are kept.
const (
	// FetchTime bounds one fetch, its body included.
	FetchTime = 5 * time.Second
	// ShortestLife and LongestLife bound what HTTP says of a document's
	// freshness; DefaultLife is for one that says nothing.
	ShortestLife = time.Minute
	LongestLife  = 24 * time.Hour
	DefaultLife  = 5 * time.Minute

	maxKept    = 256
	maxFlights = 8
)

// Documents are the clients whose ID is the URL of their document. Use
// NewDocuments; the zero value knows none.
type Documents struct {
	trust Trust
	http  *http.Client
	own   string
	asked *limit.Keyed // by host
	gate  *limit.Gate

	mu      sync.Mutex
	by      map[string]*list.Element // of *kept
	used    *list.List               // most recently used first
	flights map[string]*flight
}

type kept struct {
	id     string
	client oauthserver.Client
	until  time.Time
}

type flight struct {
	done   chan struct{}
	client oauthserver.Client
	err    error
}

// NewDocuments believes those of trust. The client must be one of
// egress.Client, without redirects and with MaxBytes and FetchTime; own is the
// host of our own pages.
func NewDocuments(trust Trust, client *http.Client, own string) (*Documents, error) {
	if client == nil || client.Transport == nil {
		return nil, errors.New("documents need a client of egress.Client")
	}
	return &Documents{trust: trust, http: client, own: own, asked: limit.NewKeyed(0.5, 10, 1024), gate: limit.NewGate(maxFlights, maxFlights),
		by: map[string]*list.Element{}, used: list.New(), flights: map[string]*flight{}}, nil
}

// Client returns the client that the document at id describes: from memory while
// it is fresh, else fetched now. The error wraps ErrUnknown, ErrDocument,
// ErrUnavailable or ErrTooMany.
func (d *Documents) Client(ctx context.Context, id string) (oauthserver.Client, error) {
	if d == nil || d.http == nil {
		return oauthserver.Client{}, ErrUnknown
	}
	u, err := CheckID(id)
	if err != nil {
		return oauthserver.Client{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	believed, vouched := d.trust.believes(u)
	if !believed {
		return oauthserver.Client{}, fmt.Errorf("%w: the operator has not named %s as a host of client documents", ErrUnknown, u.Host)
	}
	c, err := d.get(ctx, id, u)
	if err != nil {
		return oauthserver.Client{}, err
	}
	c.Unvouched = !vouched
	return c, nil
}

// get joins the fetch that is under way or begins one.
func (d *Documents) get(ctx context.Context, id string, u *url.URL) (oauthserver.Client, error) {
	d.mu.Lock()
	if el := d.by[id]; el != nil {
		if k := el.Value.(*kept); time.Now().Before(k.until) {
			d.used.MoveToFront(el)
			d.mu.Unlock()
			return copied(k.client), nil
		}
		d.drop(el)
	}
	f := d.flights[id]
	if f == nil {
		if ok, _ := d.asked.Allow(u.Host); !ok {
			d.mu.Unlock()
			return oauthserver.Client{}, ErrTooMany
		}
		leave, ok := d.gate.Acquire("all")
		if !ok {
			d.mu.Unlock()
			return oauthserver.Client{}, ErrTooMany
		}
		f = &flight{done: make(chan struct{})}
		d.flights[id] = f
		go func() {
			defer leave()
			d.fly(id, u, f)
		}()
	}
	d.mu.Unlock()
	select {
	case <-f.done:
		return copied(f.client), f.err
	case <-ctx.Done():
		return oauthserver.Client{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// fly fetches for everybody who waits. Failures are not kept: the next who asks
// may try again, as often as the host's bucket allows.
func (d *Documents) fly(id string, u *url.URL, f *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*FetchTime)
	defer cancel()
	var life time.Duration
	f.client, life, f.err = d.fetch(ctx, id, u)
	d.mu.Lock()
	delete(d.flights, id)
	if f.err == nil {
		if d.used.Len() >= maxKept {
			d.drop(d.used.Back())
		}
		d.by[id] = d.used.PushFront(&kept{id: id, client: f.client, until: time.Now().Add(life)})
	}
	d.mu.Unlock()
	close(f.done)
}

func (d *Documents) drop(el *list.Element) {
	delete(d.by, el.Value.(*kept).id)
	d.used.Remove(el)
}

// fetch reads one document and what it refers to.
func (d *Documents) fetch(ctx context.Context, id string, u *url.URL) (oauthserver.Client, time.Duration, error) {
	body, life, err := d.read(ctx, id)
	if err != nil {
		return oauthserver.Client{}, 0, err
	}
	m, err := read(body, d.own)
	if err != nil {
		return oauthserver.Client{}, 0, err
	}
	if m.id != id {
		return oauthserver.Client{}, 0, unacceptable("its client_id is not the URL under which it was fetched")
	}
	if m.secret {
		return oauthserver.Client{}, 0, unacceptable("token_endpoint_auth_method: a document cannot share a secret; use none or private_key_jwt")
	}
	if keysLife, err := d.keys(ctx, u, &m); err != nil {
		return oauthserver.Client{}, 0, err
	} else if keysLife > 0 {
		life = min(life, keysLife)
	}
	c := m.client(oauthserver.Document)
	c.Host = u.Host
	return c, life, nil
}

// keys settles how the client proves itself, and with what.
func (d *Documents) keys(ctx context.Context, u *url.URL, m *metadata) (life time.Duration, err error) {
	has := len(m.jwks) > 0 || m.jwksURI != ""
	switch {
	case m.auth == "" && has:
		return 0, unacceptable("it has keys and does not say token_endpoint_auth_method: write private_key_jwt, or none without keys")
	case m.auth == "" || m.auth == oauthserver.AuthNone:
		m.auth, m.jwks, m.jwksURI = oauthserver.AuthNone, nil, ""
		return 0, nil
	case (len(m.jwks) > 0) == (m.jwksURI != ""):
		return 0, unacceptable("private_key_jwt needs jwks or jwks_uri, and not both")
	}
	if m.jwksURI != "" {
		k, err := CheckID(m.jwksURI)
		if err != nil {
			return 0, unacceptable("jwks_uri: %w", err)
		}
		if k.Host != u.Host {
			return 0, unacceptable("jwks_uri is on another host than the document")
		}
		if m.jwks, life, err = d.read(ctx, m.jwksURI); err != nil {
			return 0, fmt.Errorf("jwks_uri: %w", err)
		}
	}
	if m.jwks, err = checkKeys(m.jwks); err != nil {
		return 0, unacceptable("its keys: %w", err)
	}
	return life, nil
}

// read fetches at most MaxBytes of JSON, and says how long it may be kept.
func (d *Documents) read(ctx context.Context, at string) ([]byte, time.Duration, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, 0, unacceptable("its address is no URL")
	}
	r.Header.Set("Accept", "application/json")
	res, err := d.http.Do(r)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("%w: its host answered with status %d", ErrUnavailable, res.StatusCode)
	}
	t, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || t != "application/json" && !(strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json")) {
		return nil, 0, unacceptable("its content type is not JSON")
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxBytes+1))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if len(body) > MaxBytes {
		return nil, 0, unacceptable("it is longer than %d bytes", MaxBytes)
	}
	return body, freshness(res.Header, time.Now()), nil
}

// freshness is how long an answer may be used (RFC 9111 4.2), within our bounds.
func freshness(h http.Header, now time.Time) time.Duration {
	life, said := DefaultLife, false
	for _, line := range h.Values("Cache-Control") {
		for _, part := range strings.Split(line, ",") {
			name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(part)), "=")
			switch name {
			case "no-store", "no-cache":
				return ShortestLife
			case "max-age":
				n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
				if err != nil {
					return ShortestLife
				}
				if d := time.Duration(n) * time.Second; !said || d < life {
					life, said = d, true
				}
			}
		}
	}
	if e := h.Get("Expires"); !said && e != "" {
		at, err := http.ParseTime(e)
		if err != nil {
			return ShortestLife
		}
		life = at.Sub(now)
	}
	if n, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil {
		life -= time.Duration(n) * time.Second
	}
	return min(max(life, ShortestLife), LongestLife)
}

// copied keeps one caller's changes from another.
func copied(c oauthserver.Client) oauthserver.Client {
	c.RedirectURIs = append([]string(nil), c.RedirectURIs...)
	c.Scopes = append([]string(nil), c.Scopes...)
	c.JWKS = append([]byte(nil), c.JWKS...)
	return c
}
