package kit

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// Browser is a headless Chromium, driven by WebDriver.
type Browser struct {
	driver  *Process
	session string // URL
	client  *http.Client
}

// Look is how a browser shows pages and what it asks for.
type Look struct {
	Languages string // as Accept-Language
	// Scripts lets pages run scripts; without it no script of a page runs.
	Scripts bool
}

// StartBrowser starts chromedriver and Chromium, which apt-get install chromium
// chromium-driver brings. The first start on a machine can take long and now
// and then never ends, so it is tried three times.
func StartBrowser(ctx context.Context, dir string, look Look) (*Browser, error) {
	var failed []error
	for try := range 3 {
		own := filepath.Join(dir, strconv.Itoa(try))
		if err := os.Mkdir(own, 0o700); err != nil {
			return nil, err
		}
		once, cancel := context.WithTimeout(ctx, startTime)
		b, err := startBrowser(ctx, once, own, look)
		cancel()
		if err == nil {
			return b, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

const startTime = time.Minute

// startBrowser tries once. The driver lives as long as life, the start as once.
func startBrowser(life, once context.Context, dir string, look Look) (*Browser, error) {
	path, err := exec.LookPath("chromedriver")
	if err != nil {
		return nil, fmt.Errorf("apt-get install chromium chromium-driver: %w", err)
	}
	addr, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := bytes.Cut([]byte(addr), []byte(":"))
	p, err := Start(life, Command{Name: "chromedriver", Path: path, Args: []string{"--port=" + string(port)}, Dir: dir,
		Env: []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir}, Addr: addr})
	if err != nil {
		return nil, err
	}
	b := &Browser{driver: p, session: "http://" + addr + "/session", client: &http.Client{Transport: &http.Transport{}}}
	scripts := 2
	if look.Scripts {
		scripts = 1
	}
	var made struct{ SessionID string }
	err = b.do(once, http.MethodPost, "", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"browserName": "chrome",
		"timeouts":    map[string]int{"pageLoad": 20_000, "script": 10_000},
		"goog:chromeOptions": map[string]any{
			"args": []string{"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
				"--user-data-dir=" + dir + "/profile", "--lang=" + look.Languages, "--accept-lang=" + look.Languages, "--force-device-scale-factor=1"},
			"prefs": map[string]any{"profile.managed_default_content_settings.javascript": scripts, "intl.accept_languages": look.Languages},
		},
	}}}, &made)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, joinStop(p))
	}
	b.session += "/" + made.SessionID
	return b, nil
}

func joinStop(p *Process) string {
	_ = p.Stop()
	return p.Output()
}

// Stop ends the browser and its driver.
func (b *Browser) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = b.do(ctx, http.MethodDelete, "", nil, nil)
	return b.driver.Stop()
}

func (b *Browser) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		j, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(j)
	}
	r, err := http.NewRequestWithContext(ctx, method, b.session+path, body)
	if err != nil {
		return err
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct{ Value json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("webdriver %s: %s", path, answer.Value)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer.Value, out)
}

// Open goes to a URL.
func (b *Browser) Open(ctx context.Context, url string) error {
	return b.do(ctx, http.MethodPost, "/url", map[string]string{"url": url}, nil)
}

// At is the URL of the page that is shown.
func (b *Browser) At(ctx context.Context) (url string, err error) {
	err = b.do(ctx, http.MethodGet, "/url", nil, &url)
	return url, err
}

// find returns the one element that a CSS selector names.
func (b *Browser) find(ctx context.Context, css string) (string, error) {
	var found []map[string]string
	if err := b.do(ctx, http.MethodPost, "/elements", map[string]string{"using": "css selector", "value": css}, &found); err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d elements are %s", len(found), css)
	}
	for _, id := range found[0] {
		return id, nil
	}
	return "", fmt.Errorf("the driver names no element for %s", css)
}

// Click presses the one element of a selector.
func (b *Browser) Click(ctx context.Context, css string) error {
	id, err := b.find(ctx, css)
	if err != nil {
		return err
	}
	return b.do(ctx, http.MethodPost, "/element/"+id+"/click", map[string]any{}, nil)
}

// Type writes into the one element of a selector.
func (b *Browser) Type(ctx context.Context, css, text string) error {
	id, err := b.find(ctx, css)
	if err != nil {
		return err
	}
	return b.do(ctx, http.MethodPost, "/element/"+id+"/value", map[string]any{"text": text}, nil)
}

// Keys presses keys where the focus is.
func (b *Browser) Keys(ctx context.Context, keys ...string) error {
	var actions []map[string]string
	for _, k := range keys {
		actions = append(actions, map[string]string{"type": "keyDown", "value": k}, map[string]string{"type": "keyUp", "value": k})
	}
	return b.do(ctx, http.MethodPost, "/actions", map[string]any{"actions": []any{map[string]any{"type": "key", "id": "k", "actions": actions}}}, nil)
}

// Source is the page as it is now.
func (b *Browser) Source(ctx context.Context) (html string, err error) {
	err = b.do(ctx, http.MethodGet, "/source", nil, &html)
	return html, err
}

// Eval runs the body of a function of ours in the page, for what can be seen
// only there.
func (b *Browser) Eval(ctx context.Context, body string, out any) error {
	return b.do(ctx, http.MethodPost, "/execute/sync", map[string]any{"script": body, "args": []any{}}, out)
}

// Cookies are those that the browser would send here.
func (b *Browser) Cookies(ctx context.Context) (out []Cookie, err error) {
	err = b.do(ctx, http.MethodGet, "/cookie", nil, &out)
	return out, err
}

// Cookie is one cookie as a browser keeps it.
type Cookie struct {
	Name, Value, Path, Domain, SameSite string
	Secure, HTTPOnly                    bool
}

// Show sets width and height in CSS pixels and the colours that are preferred,
// light or dark.
func (b *Browser) Show(ctx context.Context, width, height int, colours string) error {
	if err := b.cdp(ctx, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil); err != nil {
		return err
	}
	return b.cdp(ctx, "Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": colours}}}, nil)
}

// Picture is the whole page as PNG.
func (b *Browser) Picture(ctx context.Context) ([]byte, error) {
	var shot struct{ Data string }
	if err := b.cdp(ctx, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &shot); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(shot.Data)
}

func (b *Browser) cdp(ctx context.Context, cmd string, params map[string]any, out any) error {
	return b.do(ctx, http.MethodPost, "/goog/cdp/execute", map[string]any{"cmd": cmd, "params": params}, out)
}

// Authenticator gives the browser a passkey holder of its own, which says yes to
// everything and verifies whoever asks (WebAuthn 11).
func (b *Browser) Authenticator(ctx context.Context) (id string, err error) {
	err = b.do(ctx, http.MethodPost, "/webauthn/authenticator", map[string]any{"protocol": "ctap2", "transport": "internal",
		"hasResidentKey": true, "hasUserVerification": true, "isUserConsenting": true, "isUserVerified": true}, &id)
	return id, err
}

// Verify says whether the authenticator verifies its person from now on.
func (b *Browser) Verify(ctx context.Context, authenticator string, yes bool) error {
	return b.do(ctx, http.MethodPost, "/webauthn/authenticator/"+authenticator+"/uv", map[string]bool{"isUserVerified": yes}, nil)
}
