package clients

import (
	"errors"
	"net/url"
	"strings"

	"github.com/munjigi/munjigi/internal/base/egress"
)

// Trust says whose documents are believed. The zero value believes none.
type Trust struct {
	hosts map[string]bool // example.com, example.com:8443
	under []string        // .example.com
	exact map[string]bool // https://example.com/client.json
	all   bool
}

// NewTrust reads entries: "example.com" is that host, "*.example.com" each host
// below it and not the host itself, "https://example.com/client.json" that one
// document, for hosts that hold what many people write. anyHost believes every
// host. The error names the entry.
func NewTrust(entries []string, anyHost bool) (Trust, error) {
	t := Trust{hosts: map[string]bool{}, exact: map[string]bool{}, all: anyHost}
	for _, e := range entries {
		if err := t.add(e); err != nil {
			return Trust{}, errors.New("\"" + e + "\": " + err.Error())
		}
	}
	return t, nil
}

func (t *Trust) add(e string) error {
	if strings.HasPrefix(e, "https://") {
		if _, err := CheckID(e); err != nil {
			return err
		}
		t.exact[e] = true
		return nil
	}
	name, wild := strings.CutPrefix(e, "*.")
	u, err := egress.CheckURL("https://"+name+"/", egress.Rules{})
	if err != nil || u.Host != name || u.Path != "/" || name != strings.ToLower(name) || strings.HasSuffix(name, ".") {
		return errors.New("write a host in lower case, *.host, or the whole https URL of one document")
	}
	if !wild {
		t.hosts[name] = true
		return nil
	}
	if strings.Count(name, ".") < 1 {
		return errors.New("* stands for hosts of one organization, not of a whole top-level domain")
	}
	t.under = append(t.under, "."+name)
	return nil
}

// Any reports that there is a document that would be believed.
func (t Trust) Any() bool {
	return t.all || len(t.hosts)+len(t.under)+len(t.exact) > 0
}

// believes reports that the operator named this document or its host, and
// whether anybody vouches for it at all.
func (t Trust) believes(u *url.URL) (believed, vouched bool) {
	vouched = t.exact[u.String()] || t.hosts[u.Host]
	for _, suffix := range t.under {
		vouched = vouched || strings.HasSuffix(u.Host, suffix)
	}
	return vouched || t.all, vouched
}
