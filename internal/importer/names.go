package importer

import (
	"strconv"
	"strings"

	"github.com/munjigi/munjigi/internal/config"
)

// name gives each server a name that munjigi.yaml allows, no two the same:
// names that are allowed already are kept (the first of several equal ones),
// the others are made alike and numbered where need be.
func (r *reader) name() {
	taken := map[string]bool{}
	for _, s := range r.plan.Servers {
		if config.ServerName(s.Original) && !taken[s.Original] {
			s.Name = s.Original
			taken[s.Name] = true
		}
	}
	next := map[string]int{}
	for _, s := range r.plan.Servers {
		if s.Name != "" {
			continue
		}
		base := allowed(s.Original)
		s.Name = base
		for n := max(next[base], 2); taken[s.Name]; n++ {
			suffix := "-" + strconv.Itoa(n)
			s.Name = strings.TrimRight(base[:min(len(base), 32-len(suffix))], "-") + suffix
			next[base] = n + 1
		}
		taken[s.Name] = true
	}
}

// allowed makes the nearest name that munjigi.yaml allows.
func allowed(original string) string {
	if secretLooking("", original) {
		return "server"
	}
	var b strings.Builder
	for _, r := range original {
		switch {
		case r >= 'A' && r <= 'Z':
			b.WriteRune(r - 'A' + 'a')
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9' && b.Len() > 0:
			b.WriteRune(r)
		case r >= '0' && r <= '9':
			b.WriteString("s" + string(r))
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= 32 {
			break
		}
	}
	name := strings.Trim(b.String()[:min(b.Len(), 32)], "-")
	if name == "" {
		return "server"
	}
	return name
}
