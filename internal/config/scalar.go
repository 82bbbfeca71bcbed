package config

import (
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// scalar returns the text of a scalar of one of the tags.
func (s *source) scalar(n *yaml.Node, key, want, next string, tags ...string) (string, bool) {
	if n.Kind == yaml.AliasNode {
		return "", false
	}
	if n.Kind == yaml.ScalarNode {
		for _, t := range tags {
			if n.Tag == t {
				return n.Value, true
			}
		}
	}
	if n.Tag == "!!null" {
		next = "give it a value, or leave the key out"
	}
	s.fail(n, key, "must be "+want+", and is "+kind(n), next)
	return "", false
}

// text reads text that is not empty and has no control characters.
func (s *source) text(n *yaml.Node, key string) (string, bool) {
	t, ok := s.scalar(n, key, "text", "put quotation marks around it", "!!str", "!!timestamp")
	if !ok {
		return "", false
	}
	if t == "" {
		s.fail(n, key, "is empty", "give it a value, or leave the key out")
		return "", false
	}
	if strings.ContainsFunc(t, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		s.fail(n, key, "holds a control character", "write it on one line, without escapes")
		return "", false
	}
	return t, true
}

// flag reads true or false.
func (s *source) flag(n *yaml.Node, key string, into *bool) {
	t, ok := s.scalar(n, key, "true or false", "write true or false", "!!bool")
	if ok {
		*into = strings.EqualFold(t, "true")
	}
}

// count reads a whole number between least and most.
func (s *source) count(n *yaml.Node, key string, least, most int64) (int64, bool) {
	t, ok := s.scalar(n, key, "a whole number", "write it in digits", "!!int")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseInt(t, 10, 64)
	if err != nil || v < least || v > most {
		s.fail(n, key, "is out of range", "write a whole number from "+strconv.FormatInt(least, 10)+" to "+strconv.FormatInt(most, 10))
		return 0, false
	}
	return v, true
}

// oneOf reads one of a few words.
func (s *source) oneOf(n *yaml.Node, key string, words ...string) (string, bool) {
	t, ok := s.scalar(n, key, "one of "+strings.Join(words, ", "), "write one of them", "!!str", "!!timestamp", "!!bool")
	if !ok {
		return "", false
	}
	for _, w := range words {
		if t == w {
			return w, true
		}
	}
	next := "write one of " + strings.Join(words, ", ")
	if near := nearest(t, words); near != "" {
		next = "did you mean " + near + "? " + next
	}
	s.fail(n, key, "is "+short(t)+", which is not one of its values", next)
	return "", false
}

// duration reads a length of time with its unit.
func (s *source) duration(n *yaml.Node, key string, least, most time.Duration) (time.Duration, bool) {
	next := "write a time from " + least.String() + " to " + most.String() + " with its unit, such as 30s, 5m or 1h30m"
	if n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float") {
		s.fail(n, key, "has no unit", next)
		return 0, false
	}
	t, ok := s.scalar(n, key, "a length of time", next, "!!str")
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(t)
	switch {
	case err != nil:
		s.fail(n, key, "is not a length of time", next)
		return 0, false
	case d < least || d > most:
		s.fail(n, key, "is out of range", next)
		return 0, false
	}
	return d, true
}

// size reads a number of bytes with its unit.
func (s *source) size(n *yaml.Node, key string, least, most int64) (int64, bool) {
	next := "write a size from " + formatSize(least) + " to " + formatSize(most) + " in B, KiB, MiB or GiB, such as 4MiB"
	if n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float") {
		s.fail(n, key, "has no unit", next)
		return 0, false
	}
	t, ok := s.scalar(n, key, "a size", next, "!!str")
	if !ok {
		return 0, false
	}
	v, ok := parseSize(t)
	switch {
	case !ok:
		s.fail(n, key, "is not a size", next)
		return 0, false
	case v < least || v > most:
		s.fail(n, key, "is out of range", next)
		return 0, false
	}
	return v, true
}

func parseSize(t string) (int64, bool) {
	digits := strings.TrimRight(t, "BKMGi ")
	var shift uint
	switch strings.TrimSpace(t[len(digits):]) {
	case "B":
	case "KiB":
		shift = 10
	case "MiB":
		shift = 20
	case "GiB":
		shift = 30
	default:
		return 0, false
	}
	v, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0, false
	}
	return int64(v) << shift, true
}

func formatSize(v int64) string {
	for _, u := range []struct {
		shift uint
		name  string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if v >= 1<<u.shift && v%(1<<u.shift) == 0 {
			return strconv.FormatInt(v>>u.shift, 10) + u.name
		}
	}
	return strconv.FormatInt(v, 10) + "B"
}
