package oauth

import (
	"cmp"
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

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Grant types and token types of RFC 7523, RFC 8693 and the identity assertion
// draft.
const (
	GrantClientCredentials = "client_credentials"
	GrantJWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	GrantExchange          = "urn:ietf:params:oauth:grant-type:token-exchange"

	TypeAccess  = "urn:ietf:params:oauth:token-type:access_token"
	TypeID      = "urn:ietf:params:oauth:token-type:id_token"
	TypeJWT     = "urn:ietf:params:oauth:token-type:jwt"
	TypeIDJAG   = "urn:ietf:params:oauth:token-type:id-jag"
	TypeRefresh = "urn:ietf:params:oauth:token-type:refresh_token"
)

const (
	maxAnswer   = 64 << 10 // bytes of a token endpoint's answer
	maxToken    = 16 << 10 // bytes of a token
	maxLife     = 24 * time.Hour
	defaultLife = 5 * time.Minute // of a token whose end nobody told
	foundFor    = time.Hour       // how long a discovered endpoint is believed
)

// Token is what a token endpoint gave.
type Token struct {
	Access secret.Value
	// Type is token_type in lower case, Kind issued_token_type (RFC 8693).
	Type, Kind string
	// Scope is what was granted where that differs from what was asked for.
	Scope string
	// Expires is the token's end.
	Expires time.Time
	// Last says that another token would end no later, so that none is fetched
	// ahead of its end.
	Last bool
}

// Error is a token endpoint's no. It says nothing that the endpoint wrote but
// the error code: descriptions can hold what nobody should read.
type Error struct {
	// Status is the HTTP status, Code the error code of RFC 6749 5.2 if there
	// was one.
	Status int
	Code   string
}

// Error names status and code.
func (e *Error) Error() string {
	if e.Code == "" {
		return "the token endpoint answered HTTP " + strconv.Itoa(e.Status)
	}
	return "the token endpoint answered HTTP " + strconv.Itoa(e.Status) + " " + e.Code
}

// Temporary reports that the same request may succeed later.
func (e *Error) Temporary() bool {
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout ||
		e.Code == "temporarily_unavailable" || e.Code == "server_error" || e.Code == "slow_down"
}

// ErrAnswer is in the chain of an error about an answer that was well formed and
// is not what was asked for.
var ErrAnswer = errors.New("the token endpoint gave something else than what was asked for")

// Server is an authorization server as its client sees it.
type Server struct {
	client         *http.Client
	issuer, pinned string
	auth           Authentication

	mu    sync.Mutex
	found string
	until time.Time
}

// NewServer returns the authorization server of an issuer, or of a token
// endpoint where that is given. The client says what may be reached: make it
// with egress.Client, without redirects.
func NewServer(client *http.Client, issuer, endpoint string, auth Authentication) (*Server, error) {
	if client == nil {
		return nil, errors.New("an authorization server is reached by an HTTP client")
	}
	for _, u := range []string{issuer, endpoint} {
		if u == "" {
			continue
		}
		if _, err := egress.CheckURL(u, egress.Rules{PlainLoopback: true}); err != nil {
			return nil, err
		}
	}
	if issuer == "" && endpoint == "" {
		return nil, errors.New("name the issuer, or its token endpoint")
	}
	if err := auth.check(issuer); err != nil {
		return nil, err
	}
	return &Server{client: client, issuer: issuer, pinned: endpoint, auth: auth}, nil
}

// Issuer returns the configured issuer; it may be empty.
func (s *Server) Issuer() string { return s.issuer }

// endpoint returns the token endpoint, from the issuer's metadata if need be.
func (s *Server) endpoint(ctx context.Context) (string, error) {
	if s.pinned != "" {
		return s.pinned, nil
	}
	s.mu.Lock()
	found, until := s.found, s.until
	s.mu.Unlock()
	if found != "" && time.Now().Before(until) {
		return found, nil
	}
	d, err := Find(ctx, s.client, s.issuer, func(d Document) error { _, err := d.URL("token_endpoint"); return err })
	if err != nil {
		return "", bare(err)
	}
	if found, err = d.URL("token_endpoint"); err != nil {
		return "", err
	}
	s.mu.Lock()
	s.found, s.until = found, time.Now().Add(foundFor)
	s.mu.Unlock()
	return found, nil
}

// Ask says what kind of answer a token request wants.
type Ask struct {
	// Type is the wanted token_type; empty is Bearer.
	Type string
	// Kind is the wanted issued_token_type; empty wants none.
	Kind string
}

// Token makes one token request. The form lacks the client's authentication,
// which is added. An error that is an *Error and not Temporary, or has ErrAnswer
// in its chain, will not go away by itself. No error shows a token, a secret or
// the server's own words.
func (s *Server) Token(ctx context.Context, form url.Values, want Ask) (Token, error) {
	at, err := s.endpoint(ctx)
	if err != nil {
		return Token{}, err
	}
	h := http.Header{}
	if err := s.auth.add(ctx, form, h, s.issuer); err != nil {
		return Token{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return Token{}, errors.New("the token endpoint is no URL")
	}
	r.Header = h
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	h.Set("Accept", "application/json")
	asked := time.Now()
	res, err := s.client.Do(r)
	if err != nil {
		s.forget()
		return Token{}, bare(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return Token{}, bare(err)
	case len(body) > maxAnswer:
		return Token{}, egress.ErrTooLarge
	case res.StatusCode != http.StatusOK:
		if res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusGone {
			s.forget()
		}
		return Token{}, &Error{Status: res.StatusCode, Code: codeOf(res, body)}
	}
	t, err := readToken(res, body, want)
	if err != nil {
		return Token{}, err
	}
	t.Expires = asked.Add(time.Until(t.Expires)) // counted from before the question, not after the answer
	return t, nil
}

// forget lets the endpoint be discovered anew.
func (s *Server) forget() {
	s.mu.Lock()
	s.found = ""
	s.mu.Unlock()
}

// bare takes the URL out of an error of the HTTP client.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("the authorization server cannot be reached: %w", u.Err)
	}
	return err
}

func isJSON(res *http.Response) bool {
	mt, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return err == nil && (mt == "application/json" || strings.HasSuffix(mt, "+json"))
}

func object(body []byte) (strictjson.Object, error) {
	if err := strictjson.Validate(body, strictjson.Limits{Bytes: maxAnswer, Depth: 8, Members: 200}); err != nil || strictjson.TypeOf(body) != strictjson.TypeObject {
		return nil, errors.New("the token endpoint's answer is no JSON object that can be read")
	}
	return strictjson.SplitObject(body)
}

// codeOf reads the error code of RFC 6749 5.2, of which only words of lower
// case letters are believed.
func codeOf(res *http.Response, body []byte) string {
	if !isJSON(res) {
		return ""
	}
	o, err := object(body)
	if err != nil {
		return ""
	}
	code := textOf(o, "error")
	if len(code) > 64 || strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return code
}

func textOf(o strictjson.Object, name string) string {
	raw, ok := o.Get(name)
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeString {
		return ""
	}
	s, err := strictjson.String(raw)
	if err != nil {
		return ""
	}
	return s
}

// readToken reads a successful answer (RFC 6749 5.1, RFC 8693 2.2.1).
func readToken(res *http.Response, body []byte, want Ask) (Token, error) {
	if !isJSON(res) {
		return Token{}, errors.New("the token endpoint's answer is not JSON")
	}
	o, err := object(body)
	if err != nil {
		return Token{}, err
	}
	access := textOf(o, "access_token")
	if access == "" || len(access) > maxToken || !plain(access) {
		return Token{}, fmt.Errorf("%w: its token is empty, too long, or holds characters that no header carries", ErrAnswer)
	}
	t := Token{Access: secret.New(access), Type: strings.ToLower(textOf(o, "token_type")), Kind: textOf(o, "issued_token_type"), Scope: textOf(o, "scope")}
	if t.Type != strings.ToLower(cmp.Or(want.Type, "Bearer")) {
		return Token{}, fmt.Errorf("%w: its token is not of the type that can be used", ErrAnswer)
	}
	if want.Kind != "" && t.Kind != want.Kind {
		return Token{}, fmt.Errorf("%w: issued_token_type is not %s", ErrAnswer, want.Kind)
	}
	life, err := lifeOf(o)
	if err != nil {
		return Token{}, err
	}
	t.Expires = time.Now().Add(life)
	return t, nil
}

// lifeOf reads expires_in, which some servers write as text.
func lifeOf(o strictjson.Object) (time.Duration, error) {
	raw, ok := o.Get("expires_in")
	if !ok || strictjson.TypeOf(raw) == strictjson.TypeNull {
		return defaultLife, nil
	}
	text := string(raw)
	if strictjson.TypeOf(raw) == strictjson.TypeString {
		text = textOf(o, "expires_in")
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n > 0) { // NaN is not
		return 0, fmt.Errorf("%w: its token has ended already", ErrAnswer)
	}
	if n > maxLife.Seconds() {
		return maxLife, nil
	}
	return time.Duration(n * float64(time.Second)), nil
}

// plain reports that s is made of the characters of b64token (RFC 6750 2.1).
func plain(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~+/=", c) >= 0) {
			return false
		}
	}
	return true
}
