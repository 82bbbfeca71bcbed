package main

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

// person is somebody at a browser: cookies, forms, and links that a page leads
// to on its own.
type person struct {
	g *gateway
	c *http.Client
}

// letIn opens the suite's link, allows all that it asks for, signs in by the
// terminal's code and follows the answer to the suite.
func (g *gateway) letIn(ctx context.Context, link string) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	p := person{g, &http.Client{Jar: jar, Transport: &http.Transport{}}}
	page, err := p.get(ctx, link)
	if err != nil {
		return err
	}
	form := url.Values{"answer": {"yes"}}
	for _, m := range regexp.MustCompile(`<input type="checkbox" name="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		form.Set(html.UnescapeString(m[1]), "on")
	}
	if page, err = p.submit(ctx, page, "/oauth/consent", form); err != nil {
		return err
	}
	if page, err = p.submit(ctx, page, "/signin/code", nil); err != nil {
		return err
	}
	if page, err = p.submit(ctx, page, "/signin/code", url.Values{"code": {g.term.code()}}); err != nil {
		return err
	}
	m := regexp.MustCompile(`content="0;url=([^"]+)"`).FindStringSubmatch(page)
	if m == nil {
		return fmt.Errorf("%w: it leads nowhere: %s", errNoPage, page)
	}
	_, err = p.get(ctx, html.UnescapeString(m[1]))
	return err
}

func (p person) get(ctx context.Context, at string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", err
	}
	return p.do(r)
}

// submit sends the form for path on a page, with what it holds and more.
func (p person) submit(ctx context.Context, page, path string, more url.Values) (string, error) {
	_, rest, ok := strings.Cut(page, `action="`+path+`">`)
	rest, _, ok2 := strings.Cut(rest, "</form>")
	if !ok || !ok2 {
		return "", fmt.Errorf("%w: no form for %s in %s", errNoPage, path, page)
	}
	form := url.Values{}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`).FindAllStringSubmatch(rest, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	for k, v := range more {
		form[k] = v
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.g.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", p.g.base)
	return p.do(r)
}

func (p person) do(r *http.Request) (string, error) {
	res, err := p.c.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	page, err := readAll(res.Body)
	if err == nil && res.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%w: %s: %s", errNoPage, status(res), page)
	}
	return page, err
}
