package importer

// Strip replaces comments, and commas before a closing bracket, by spaces, as
// the JSON of editors has them. Every other byte stays where it is, so that
// places in the result are places in the text. Text that is JSON already comes
// back unchanged.
func Strip(text []byte) (plain []byte, changed bool) {
	out := append([]byte(nil), text...)
	blank := func(from, to int) {
		for i := from; i < to; i++ {
			if out[i] != '\n' && out[i] != '\r' {
				out[i] = ' '
			}
		}
		changed = true
	}
	comma := -1       // place of a comma that only white space has followed
	before := byte(0) // the last byte that means something
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '"':
			end := stringEnd(text, i)
			comma, before = -1, '"'
			i = end
			continue
		case c == '/' && i+1 < len(text) && text[i+1] == '/':
			end := i
			for end < len(text) && text[end] != '\n' && text[end] != '\r' {
				end++
			}
			blank(i, end)
			i = end
			continue
		case c == '/' && i+1 < len(text) && text[i+1] == '*':
			end := commentEnd(text, i+2)
			if end < 0 {
				return out, changed
			}
			blank(i, end)
			i = end
			continue
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		case c == ',':
			comma = -1
			if before != 0 && before != ',' && before != '[' && before != '{' && before != ':' {
				comma = i
			}
			before = c
		case (c == '}' || c == ']') && comma >= 0:
			blank(comma, comma+1)
			comma, before = -1, c
		default:
			comma, before = -1, c
		}
		i++
	}
	return out, changed
}

// stringEnd returns the place after a string that begins at i.
func stringEnd(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		case '\n':
			return i
		}
	}
	return len(text)
}

func commentEnd(text []byte, i int) int {
	for ; i+1 < len(text); i++ {
		if text[i] == '*' && text[i+1] == '/' {
			return i + 2
		}
	}
	return -1
}
