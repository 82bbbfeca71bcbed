package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/munjigi/munjigi/test/bench/internal/proc"
	"github.com/munjigi/munjigi/test/bench/internal/wire"
)

// peer is another gateway that somebody else started and pointed at the echo.
type peer struct {
	name, url string
	headers   []string
}

// peers are the flags -peer and -peer-header.
type peers []*peer

func (p *peers) add(value string) error {
	name, url, ok := strings.Cut(value, "=")
	if !ok || name == "" {
		return fmt.Errorf("%q is not of the form name=URL", value)
	}
	if slices.Contains([]string{nameDirect, nameProxy, namePipe, nameRelaxed, nameGuards, nameStrict, namePolicy, nameJWT}, name) || p.find(name) != nil {
		return fmt.Errorf("the name %q is taken", name)
	}
	if _, err := wire.ParseEndpoint(url); err != nil {
		return err
	}
	*p = append(*p, &peer{name: name, url: url})
	return nil
}

func (p *peers) header(value string) error {
	name, line, ok := strings.Cut(value, "=")
	if !ok || !strings.Contains(line, ":") || strings.ContainsAny(line, "\r\n") {
		return fmt.Errorf("%q is not of the form name=Header: value", value)
	}
	to := p.find(name)
	if to == nil {
		return fmt.Errorf("there is no peer %q yet; give -peer before -peer-header", name)
	}
	to.headers = append(to.headers, line)
	return nil
}

func (p *peers) find(name string) *peer {
	for _, have := range *p {
		if have.name == name {
			return have
		}
	}
	return nil
}

// subject finds the peer's process by its port, so that its CPU can be read;
// where it cannot be found those figures are not available.
func (p *peer) subject() (*subject, error) {
	u, err := wire.ParseEndpoint(p.url)
	if err != nil {
		return nil, err
	}
	pid := 0
	if port, err := strconv.Atoi(u.Port()); err == nil {
		if found, err := proc.Listener(port); err == nil {
			pid = found
		}
	}
	return &subject{name: p.name, urls: []string{p.url}, headers: p.headers, middle: fixed(pid)}, nil
}
