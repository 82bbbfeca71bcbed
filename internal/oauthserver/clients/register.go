package clients

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
)

// Endpoint answers at oauthserver.PathRegister (RFC 7591 3). The zero value
// refuses.
type Endpoint struct {
	Registry *Registry
	// Record takes each registration before it is kept.
	Record audit.Recorder
	Log    *slog.Logger
}

// ServeHTTP implements http.Handler.
func (e Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if e.Registry == nil || e.Record == nil {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		h.Set("Allow", "POST")
		refuse(w, http.StatusMethodNotAllowed, "invalid_client_metadata", "register by POST")
		return
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		refuse(w, http.StatusBadRequest, "invalid_client_metadata", "send JSON")
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(FetchTime))
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBytes+1))
	if err != nil || len(body) > MaxBytes {
		refuse(w, http.StatusBadRequest, "invalid_client_metadata", "the request is longer than is read here, or did not come")
		return
	}
	made, err := e.Registry.Judge(peerOf(r), body)
	if err == nil {
		err = e.keep(r, made)
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrTooMany):
		h.Set("Retry-After", "60")
		refuse(w, http.StatusTooManyRequests, "temporarily_unavailable", "too many clients register; try again in a minute")
		return
	case errors.Is(err, ErrRedirect):
		refuse(w, http.StatusBadRequest, "invalid_redirect_uri", err.Error())
		return
	case errors.Is(err, ErrDocument):
		refuse(w, http.StatusBadRequest, "invalid_client_metadata", err.Error())
		return
	default:
		if e.Log != nil {
			e.Log.Error("a client cannot be registered", "error", err)
		}
		refuse(w, http.StatusServiceUnavailable, "temporarily_unavailable", "the client cannot be registered now; try again in a minute")
		return
	}
	write(w, http.StatusCreated, answer(made))
}

func (e Endpoint) keep(r *http.Request, made Registration) error {
	c := made.Client
	if err := e.Record.Record(r.Context(), &audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: "client", Effect: "allow",
		Reason: "client-registered", Client: c.ID, Detail: map[string]string{"name": c.Name, "redirects": strings.Join(c.RedirectURIs, " "), "peer": peerOf(r)}}); err != nil {
		return err
	}
	return e.Registry.Keep(r.Context(), made)
}

func peerOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// answer is what RFC 7591 3.2.1 wants, with what we made of the request.
func answer(r Registration) map[string]any {
	c := r.Client
	out := map[string]any{"client_id": c.ID, "client_id_issued_at": r.Issued.Unix(), "client_name": c.Name, "redirect_uris": c.RedirectURIs,
		"token_endpoint_auth_method": string(c.Auth), "grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		"dpop_bound_access_tokens": c.DPoP}
	if len(c.JWKS) > 0 {
		out["jwks"] = json.RawMessage(c.JWKS)
	}
	if len(c.Scopes) > 0 {
		out["scope"] = strings.Join(c.Scopes, " ")
	}
	return out
}

func refuse(w http.ResponseWriter, status int, code, text string) {
	write(w, status, map[string]any{"error": code, "error_description": ascii(text)})
}

// ascii keeps to what RFC 6749 5.2 allows in a description.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return '\''
		}
		return r
	}, s)
}

func write(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
