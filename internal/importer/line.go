package importer

import (
	"strings"

	"github.com/munjigi/munjigi/internal/config"
)

// Line shows exactly what the server would be: the command with every
// argument, or the URL. Nothing is cut off. Words are in quotation marks where
// their bounds would not be plain; hidden characters are \u{…}; a secret is
// <secret env:NAME> outside of quotation marks.
func (s *Server) Line() string {
	if !s.Stdio() {
		return shown(s.URL)
	}
	words := make([]string, len(s.Command))
	for i, v := range s.Command {
		words[i] = shown(v)
	}
	return strings.Join(words, " ")
}

// Called shows the client's own name for the server, in quotation marks, or …
// where it looks like a secret.
func (s *Server) Called() string { return show(s.Original) }

// EnvLines shows the variables that the command would get.
func (s *Server) EnvLines() []string {
	lines := make([]string, len(s.Env))
	for i, e := range s.Env {
		lines[i] = config.Visible(e.Name) + "=" + shown(e.Value)
	}
	return lines
}

// HeaderLines shows the headers that each request would carry.
func (s *Server) HeaderLines() []string {
	lines := make([]string, len(s.Headers))
	for i, h := range s.Headers {
		lines[i] = config.Visible(h.Name) + ": " + shown(h.Value)
	}
	return lines
}

func shown(v config.Value) string {
	text := quoted(v.Text)
	if !v.IsSecret() {
		return text
	}
	if v.Text == "" {
		text = ""
	}
	return text + "<secret " + v.Secret.String() + ">"
}

// quoted puts a word in quotation marks unless it is made of characters that
// can only be its own.
func quoted(text string) string {
	plain := text != ""
	for i := range len(text) {
		c := text[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_-./:=@+,%~^", c) >= 0) {
			plain = false
			break
		}
	}
	if plain {
		return text
	}
	return `"` + config.Visible(strings.ReplaceAll(text, `"`, `""`)) + `"`
}
