package config

import "go.yaml.in/yaml/v3"

// What a server may ask of a client.
const (
	AskSampling    = "sampling"
	AskElicitation = "elicitation"
	AskRoots       = "roots"
)

func readMayAsk(s *source, n *yaml.Node, key string, v *Server) {
	s.checked(n, key, func(t string) complaint {
		switch t {
		case AskSampling, AskElicitation, AskRoots:
			return complaint{}
		}
		return complaint{"is " + short(t) + ", which is nothing that a server asks of a client", "write some of sampling, elicitation and roots"}
	}, &v.MayAsk)
}

// checkMayAsk refuses two answers to one question: where there are policies, or
// callers of an identity provider, policies say what a server may ask.
func checkMayAsk(s *source, r *reading) {
	if len(r.Policy) == 0 && !r.Identity.Outside() {
		return
	}
	for _, v := range r.Servers {
		if len(v.MayAsk) > 0 {
			s.failKey(join("servers", v.Name)+".may_ask", "says what policies say in this config", "leave it out, and permit the actions sample, elicit and roots on the server: docs/policy.md")
		}
	}
}
