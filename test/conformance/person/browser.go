package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

// browser is a person's: it follows links and redirects, keeps cookies, and
// posts the forms of the gateway's pages.
type browser struct {
	g *gateway
	c *http.Client
}

func newBrowser(g *gateway) (*browser, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &browser{g, &http.Client{Jar: jar, Transport: &http.Transport{}}}, nil
}

// page is what a browser shows.
type page struct {
	at     *url.URL
	status int
	text   string
}

func (b *browser) open(ctx context.Context, at string, form url.Values) (page, error) {
	method, body := http.MethodGet, ""
	if form != nil {
		method, body = http.MethodPost, form.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, at, strings.NewReader(body))
	if err != nil {
		return page{}, err
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.g.base)
	}
	res, err := b.c.Do(r)
	if err != nil {
		return page{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return page{res.Request.URL, res.StatusCode, string(text)}, err
}

var (
	aForm  = regexp.MustCompile(`(?s)<form method="post" action="([^"]*)">(.*?)</form>`)
	aField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	onward = regexp.MustCompile(`<a class="button" rel="noreferrer" href="([^"]*)">`)
)

// press posts the form of a page that goes to action, with more filled in.
func (b *browser) press(ctx context.Context, p page, action string, more url.Values) (page, error) {
	for _, f := range aForm.FindAllStringSubmatch(p.text, -1) {
		if f[1] != action {
			continue
		}
		form := url.Values{}
		for _, h := range aField.FindAllStringSubmatch(f[2], -1) {
			form.Set(html.UnescapeString(h[1]), html.UnescapeString(h[2]))
		}
		for k, v := range more {
			form[k] = v
		}
		return b.open(ctx, b.g.base+action, form)
	}
	return page{}, fmt.Errorf("the page at %s (%d) has no form for %s", p.at.Path, p.status, action)
}

// grant opens a link, signs in with the code of the terminal where that is
// needed, says yes, and goes on to the authorization server and back.
func (b *browser) grant(ctx context.Context, link string) error {
	p, err := b.open(ctx, link, nil)
	if err != nil {
		return err
	}
	if strings.HasPrefix(p.at.Path, "/signin") {
		if p, err = b.press(ctx, p, "/signin/code", nil); err != nil {
			return err
		}
		if p, err = b.press(ctx, p, "/signin/code", url.Values{"code": {b.g.term.code()}}); err != nil {
			return err
		}
	}
	if p, err = b.press(ctx, p, "/grants/open", url.Values{"answer": {"yes"}}); err != nil {
		return err
	}
	// The gateway shows where it leads; the person goes on.
	to := onward.FindStringSubmatch(p.text)
	if to == nil {
		return fmt.Errorf("the page leads nowhere (%d): %s", p.status, title(p.text))
	}
	if p, err = b.open(ctx, html.UnescapeString(to[1]), nil); err != nil {
		return err
	}
	if p.status != http.StatusOK || p.at.Path != "/grants/callback" {
		return errors.Join(errors.New("nothing was granted"), fmt.Errorf("%s answered %d: %s", p.at.Path, p.status, title(p.text)))
	}
	return nil
}

func title(text string) string {
	_, rest, _ := strings.Cut(text, "<h1>")
	t, _, _ := strings.Cut(rest, "</h1>")
	return html.UnescapeString(t)
}
