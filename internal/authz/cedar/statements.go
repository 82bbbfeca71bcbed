package cedar

import "unicode/utf8"

// Bounds of one policy, so that no text makes a parser or an evaluator go
// deeper than a stack.
const (
	maxStatement = 64 << 10 // bytes without comments
	maxBrackets  = 100      // open at once
)

// statement is one policy's text up to and with its semicolon.
type statement struct {
	text         string
	line, column int // where it begins, in lines and characters from 1
	size         int // bytes without comments and space
	deep         bool
}

// statements cuts a file at the semicolons that stand in no string and no
// comment. What follows the last one is a statement when it says anything.
func statements(src string) []statement {
	var out []statement
	line, column := 1, 1
	cur := statement{line: 1, column: 1}
	begin, open := 0, 0
	inString, inComment := false, false
	for i := 0; i < len(src); {
		r, n := utf8.DecodeRuneInString(src[i:])
		if r == '\\' && inString && i+1 < len(src) && src[i+1] != '\n' {
			n, column = n+1, column+1
		}
		switch {
		case inComment:
			inComment = r != '\n'
		case inString:
			cur.size += n
			inString = r != '"'
		case r == '/' && i+1 < len(src) && src[i+1] == '/':
			inComment = true
		case r > ' ':
			cur.size += n
			inString = r == '"'
			switch r {
			case '(', '[', '{':
				open++
				cur.deep = cur.deep || open > maxBrackets
			case ')', ']', '}':
				open--
			}
		}
		i += n
		if column++; r == '\n' {
			line, column = line+1, 1
		}
		if r == ';' && !inString && !inComment {
			cur.text = src[begin:i]
			out = append(out, cur)
			cur, begin, open = statement{line: line, column: column}, i, 0
		}
	}
	if cur.size > 0 {
		cur.text = src[begin:]
		out = append(out, cur)
	}
	return out
}
