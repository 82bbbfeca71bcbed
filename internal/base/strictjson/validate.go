package strictjson

// Validate reports whether b is one JSON value as the package comment
// describes and within l. Its error is an *Error. It keeps nothing of b.
func Validate(b []byte, l Limits) error {
	var d seen
	if at, kind := validate(b, l, &d); kind != 0 {
		return &Error{Offset: at, Kind: kind}
	}
	return nil
}

// frame is one open array or object.
type frame struct {
	base  int32 // object: index of its first name in names; array: -1
	table int32 // object: number of its table in seen.tables, from 1; or 0
}

func validate(b []byte, l Limits, d *seen) (at int, kind Kind) {
	if l.Bytes <= 0 || l.Depth <= 0 || l.Members <= 0 {
		return 0, KindLimits
	}
	if limit := min(l.Bytes, MaxBytes); len(b) > limit {
		return limit, KindSize
	}
	if len(b) >= 3 && b[0] == 0xEF && b[1] == 0xBB && b[2] == 0xBF {
		return 0, KindBOM
	}
	depth, left := min(l.Depth, MaxDepth), l.Members
	var stack [64]frame
	open := stack[:0]
	var first [48]name
	names := first[:0]
	var f frame
	i := 0
value:
	for {
		i = skipSpace(b, i)
		if i == len(b) {
			return i, KindTruncated
		}
		switch b[i] {
		case '"':
			if i, _, kind = scanString(b, i+1); kind != 0 {
				return i, kind
			}
			i++
		case '{':
			if len(open) == depth {
				return i, KindDepth
			}
			open = append(open, f)
			f = frame{base: int32(len(names))}
			i = skipSpace(b, i+1)
			if i < len(b) && b[i] == '}' {
				break
			}
			if left--; left < 0 {
				return i, KindMembers
			}
			if names, i, kind = d.member(names, &f, b, i); kind != 0 {
				return i, kind
			}
			continue value
		case '[':
			if len(open) == depth {
				return i, KindDepth
			}
			open = append(open, f)
			f = frame{base: -1}
			i = skipSpace(b, i+1)
			if i < len(b) && b[i] == ']' {
				break
			}
			if left--; left < 0 {
				return i, KindMembers
			}
			continue value
		default:
			if i, kind = scanScalar(b, i); kind != 0 {
				return i, kind
			}
		}
		for len(open) > 0 {
			i = skipSpace(b, i)
			if i == len(b) {
				return i, KindTruncated
			}
			switch c := b[i]; {
			case c == ',':
				if left--; left < 0 {
					return i, KindMembers
				}
				i++
				if f.base < 0 {
					continue value
				}
				i = skipSpace(b, i)
				if names, i, kind = d.member(names, &f, b, i); kind != 0 {
					return i, kind
				}
				continue value
			case c == '}' && f.base >= 0:
				names = d.close(names, f)
			case c == ']' && f.base < 0:
			default:
				return i, KindSyntax
			}
			i++
			f = open[len(open)-1]
			open = open[:len(open)-1]
		}
		if i = skipSpace(b, i); i != len(b) {
			return i, KindTrailing
		}
		return i, 0
	}
}

// member reads a member's name and colon at i and appends the name. It returns
// the index after the colon.
func (d *seen) member(names []name, f *frame, b []byte, i int) ([]name, int, Kind) {
	if i == len(b) {
		return names, i, KindTruncated
	}
	if b[i] != '"' {
		return names, i, KindSyntax
	}
	end, escaped, kind := scanString(b, i+1)
	if kind != 0 {
		return names, end, kind
	}
	names, dup := d.add(names, f, b, i+1, end, escaped)
	if dup {
		return names, i, KindDuplicate
	}
	i = skipSpace(b, end+1)
	if i == len(b) {
		return names, i, KindTruncated
	}
	if b[i] != ':' {
		return names, i, KindSyntax
	}
	return names, i + 1, 0
}
