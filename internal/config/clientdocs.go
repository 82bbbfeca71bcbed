package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// ClientDocuments says whose client ID metadata documents are believed: none
// where it is zero.
type ClientDocuments struct {
	// Allow are hosts, *.hosts and whole URLs of documents.
	Allow []string
	// InsecureAnyHost believes every host.
	InsecureAnyHost bool
	// InsecurePrivateHosts are hosts from which documents are fetched although
	// they are private.
	InsecurePrivateHosts []string
}

func clientDocumentFields() []field[ClientDocuments] {
	return []field[ClientDocuments]{
		{"allow", func(s *source, n *yaml.Node, key string, d *ClientDocuments) {
			s.checked(n, key, checkDocumentHost, &d.Allow)
		}},
		{"insecure_any_host", func(s *source, n *yaml.Node, key string, d *ClientDocuments) { s.flag(n, key, &d.InsecureAnyHost) }},
		{"insecure_private_hosts", func(s *source, n *yaml.Node, key string, d *ClientDocuments) {
			s.checked(n, key, checkHostPort, &d.InsecurePrivateHosts)
		}},
	}
}

// checkDocumentHost judges one entry of the list of those who may describe
// clients.
func checkDocumentHost(t string) complaint {
	const write = "write a host in lower case, *.host, or the whole https URL of one document"
	if strings.HasPrefix(t, "https://") {
		if path, ok := strings.CutPrefix(t, "https://"); !ok || !strings.Contains(strings.TrimSuffix(path, "/"), "/") || strings.ContainsAny(t, "?#") {
			return complaint{"is the URL of a host and of no document", write}
		}
		return checkURL(t)
	}
	name, wild := strings.CutPrefix(t, "*.")
	if name == "" || t != strings.ToLower(t) || strings.HasSuffix(t, ".") || strings.ContainsAny(name, "*/") || wild && !strings.Contains(name, ".") {
		return complaint{"is no host whose documents could be believed", write}
	}
	return checkHostPort(name)
}

// departures are what is weaker than the safe defaults.
func (d ClientDocuments) departures(at string) []Departure {
	var list []Departure
	if d.InsecureAnyHost {
		list = append(list, Departure{join(at, "insecure_any_host"), "true", "anybody who has a web page can describe a client and ask people to let it in"})
	}
	for i, h := range d.InsecurePrivateHosts {
		list = append(list, Departure{index(join(at, "insecure_private_hosts"), i), Visible(h), "documents of clients may be fetched from this host although it is private"})
	}
	return list
}
