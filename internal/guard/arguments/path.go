package arguments

import (
	"path"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// maxPath is how long a path may be, in bytes.
const maxPath = 32 << 10

// roots are the folders that one server may work in, clean and with slashes.
type roots []string

func newRoots(dirs []string) roots {
	var r roots
	for _, d := range dirs {
		r = append(r, path.Clean(strings.ReplaceAll(norm.NFKC.String(d), `\`, "/")))
	}
	return r
}

// holds reports that a clean absolute path is in one of the folders.
func (r roots) holds(p string) bool {
	for _, root := range r {
		if p == root || root == "/" || strings.HasPrefix(p, root+"/") {
			return true
		}
		if driven(root) && driven(p) && (strings.EqualFold(p, root) || len(p) > len(root) && strings.EqualFold(p[:len(root)+1], root+"/")) {
			return true
		}
	}
	return false
}

// driven reports a path of Windows that begins with a drive.
func driven(p string) bool {
	return len(p) >= 2 && p[1] == ':' && (p[0]|0x20 >= 'a' && p[0]|0x20 <= 'z')
}

// pathProblem says why a path is refused; empty if it is not. strict is for what
// was declared to be a path.
func pathProblem(s string, r roots, strict bool) string {
	if len(s) > maxPath {
		return "is longer than a path can be"
	}
	for i, v := range viewsOf(strings.TrimSpace(s)) {
		if !strict && strings.ContainsAny(v, "\n") {
			return "" // what a file holds, not where it is
		}
		if strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c == 0x7F }) {
			return "has control characters: write the path without them"
		}
		if why := oneView(v, r, i > 0); why != "" {
			return why
		}
	}
	return ""
}

func oneView(v string, r roots, encoded bool) string {
	device := strings.HasPrefix(v, `\\`) || strings.HasPrefix(v, `//?/`) || strings.HasPrefix(v, `//./`)
	p := strings.ReplaceAll(v, `\`, "/")
	if len(p) >= 5 && strings.EqualFold(p[:5], "file:") {
		p = p[5:]
		if strings.HasPrefix(p, "//") {
			host, rest, _ := strings.Cut(p[2:], "/")
			if host != "" && !strings.EqualFold(host, "localhost") {
				return "names another machine: write a path of this one"
			}
			p = "/" + rest
			if driven(rest) {
				p = rest
			}
		}
	}
	up, climbs := steps(p)
	absolute := strings.HasPrefix(p, "/") || driven(p)
	switch {
	case up && encoded:
		return "has a step up (..) in an encoding: write the path plainly"
	case len(r) > 0 && strings.HasPrefix(p, "~"):
		return "begins with ~, which leads out of the folders that the server works in: write a path in them"
	case len(r) > 0 && absolute:
		if device || !r.holds(path.Clean(p)) {
			return "leads out of the folders that the server works in: write a path in them"
		}
	case device:
		return "names another machine or a device: write a path of this one"
	case climbs:
		return "climbs out of the folder that it begins in: write a path without .. at its beginning"
	case up && absolute:
		return "has a step up (..) in an absolute path: write where it leads to"
	}
	return ""
}

// steps reports whether a path has a step up, and whether one leads above where
// it begins.
func steps(p string) (up, climbs bool) {
	depth := 0
	for part := range strings.SplitSeq(p, "/") {
		part, _, _ = strings.Cut(part, ";")
		switch part = strings.TrimRight(part, " "); part {
		case "", ".":
		case "..":
			up = true
			if depth--; depth < 0 {
				climbs = true
			}
		default:
			depth++
			if driven(part) && len(part) == 2 {
				depth--
			}
		}
	}
	return up, climbs
}
