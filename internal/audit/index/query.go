package index

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/munjigi/munjigi/internal/audit"
)

// Query is what is looked for: every one of its parts must be true of an entry.
type Query struct {
	parts []part
	kinds bool // the kind was asked for
}

type part struct {
	column string // of entries; "" for words
	values []string
	not    bool
	before time.Time
	since  time.Time
}

// columnOf is the column that a term asks, by the word before its colon.
func columnOf(term string) (string, bool) {
	switch term {
	case "tool", "target":
		return "target", true
	case "user", "principal":
		return "principal", true
	case "decision", "effect":
		return "effect", true
	case "server", "method", "client", "reason", "stage", "kind", "id":
		return term, true
	}
	return "", false
}

// ParseQuery reads a query: words, and terms such as tool:delete_* or user:"kim lee". A term that is repeated asks for
// either; one that begins with - must not be true. since: and until: take a day (2026-11-22), a moment
// (2026-11-22T10:00:00Z) or a time back from now (30m, 6h, 2d). * stands for any characters. Words are found in
// every text of an entry, a word that ends in * by its beginning. Intents are left out unless kind: asks for them.
func ParseQuery(text string, now time.Time) (Query, error) {
	var q Query
	if strings.ContainsFunc(text, unicode.IsControl) {
		return q, errors.New("a query has a character that nobody sees: take it out")
	}
	words, err := split(strings.ToValidUTF8(text, "\uFFFD"))
	if err != nil {
		return q, err
	}
	for _, w := range words {
		not := len(w) > 1 && w[0] == '-'
		if not {
			w = w[1:]
		}
		name, value, is := strings.Cut(w, ":")
		value = strings.Trim(value, `"`)
		switch {
		case !is || strings.HasPrefix(w, `"`):
			word := strings.Trim(w, `"`)
			if word == "" || word == "*" {
				return q, errors.New("a query has an empty word: take it out")
			}
			q.parts = append(q.parts, part{values: []string{word}, not: not})
		case value == "":
			return q, fmt.Errorf("%s: says nothing: write %s:VALUE", name, name)
		case name == "since" || name == "until":
			at, err := moment(value, now)
			if err != nil || not {
				return q, fmt.Errorf("%s takes a day, a moment or a time back, as in %s:2026-11-22, %s:2d or %s:6h", w, name, name, name)
			}
			p := part{column: "time", since: at}
			if name == "until" {
				p = part{column: "time", before: at}
			}
			q.parts = append(q.parts, p)
		default:
			column, ok := columnOf(name)
			if !ok {
				return q, fmt.Errorf("%s is none of tool, user, server, method, client, reason, decision, stage, kind, id, since, until; put quotes round a text that has a colon", name)
			}
			q.kinds = q.kinds || column == "kind" || column == "id"
			q.add(column, value, not)
		}
	}
	return q, nil
}

// add joins what is asked of one column.
func (q *Query) add(column, value string, not bool) {
	for i := range q.parts {
		if p := &q.parts[i]; p.column == column && p.not == not {
			p.values = append(p.values, value)
			return
		}
	}
	q.parts = append(q.parts, part{column: column, values: []string{value}, not: not})
}

// split takes a query apart at spaces outside quotes.
func split(text string) ([]string, error) {
	var out []string
	var b strings.Builder
	quoted := false
	for _, r := range text {
		switch {
		case r == '"':
			quoted = !quoted
			b.WriteRune(r)
		case !quoted && (r == ' ' || r == '\t' || r == '\n'):
			if b.Len() > 0 {
				out = append(out, b.String())
				b.Reset()
			}
		default:
			b.WriteRune(r)
		}
	}
	if quoted {
		return nil, errors.New("a quote is opened and not closed")
	}
	if b.Len() > 0 {
		out = append(out, b.String())
	}
	const most = 64
	if len(out) > most {
		return nil, fmt.Errorf("the query has %d parts, at most %d fit", len(out), most)
	}
	return out, nil
}

func moment(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 36500 {
			return time.Time{}, errors.New("no number of days")
		}
		return now.AddDate(0, 0, -n), nil
	}
	if back, err := time.ParseDuration(text); err == nil && back >= 0 {
		return now.Add(-back), nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return at, nil
		}
	}
	return time.Time{}, errors.New("no time")
}

// Find gives the places of at most limit entries that q is true of, the newest first, until f returns false.
func (x *Index) Find(ctx context.Context, q Query, limit int, f func(at string) bool) (err error) {
	if limit <= 0 {
		return errors.New("index: say how many entries at most")
	}
	w, err := x.where(ctx, q)
	if err != nil || w.nothing {
		return err
	}
	// #nosec G202 -- what is joined are constants of this package and numbers; what a person wrote goes in as arguments
	rows, err := x.db.QueryContext(ctx, "SELECT at FROM entries WHERE "+w.text+" ORDER BY n DESC LIMIT ?", append(w.args, limit)...)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var at string
		if err := rows.Scan(&at); err != nil {
			return err
		}
		if !f(at) {
			return nil
		}
	}
	return rows.Err()
}

// where is a query in SQL. The newest entries are wanted, so the table is read backwards and most conditions are
// only looked at (a plus keeps SQLite from using an index for them); what few entries have is looked up.
type where struct {
	text    string
	args    []any
	nothing bool
}

const (
	// few is how many entries are looked up rather than passed by.
	few = 20_000
	// skew is by how many entries the order of times and of entries may differ.
	skew = 10_000
	// mostTexts is how many texts a pattern may stand for.
	mostTexts = 20_000
)

func (w *where) and(text string, args ...any) {
	if w.text != "" {
		w.text += " AND "
	}
	w.text += text
	w.args = append(w.args, args...)
}

func (x *Index) where(ctx context.Context, q Query) (w where, err error) {
	w.and("1")
	if !q.kinds {
		w.and("+kind NOT IN (SELECT n FROM names WHERE text = ?)", audit.KindIntent)
	}
	for _, p := range q.parts {
		not := ""
		if p.not {
			not = "NOT "
		}
		switch p.column {
		case "time":
			if p.before.IsZero() {
				w.and("+time >= ? AND n >= coalesce((SELECT n FROM entries WHERE time >= ? ORDER BY time LIMIT 1), 0) - ?", p.since.UnixMicro(), p.since.UnixMicro(), skew)
			} else {
				w.and("+time < ? AND n <= coalesce((SELECT n FROM entries WHERE time < ? ORDER BY time DESC LIMIT 1), 0) + ?", p.before.UnixMicro(), p.before.UnixMicro(), skew)
			}
		case "id":
			w.and("id "+not+"IN ("+marks(len(p.values))+")", anys(p.values)...)
		case "":
			err = x.word(ctx, &w, p.values[0], not)
		default:
			err = x.column(ctx, &w, p, not)
		}
		if err != nil || w.nothing {
			return w, err
		}
	}
	return w, nil
}

// column adds what is asked of one column.
func (x *Index) column(ctx context.Context, w *where, p part, not string) error {
	var globs []any
	for _, v := range p.values {
		globs = append(globs, glob(v))
		if p.column == "principal" && !strings.Contains(v, "*") {
			globs = append(globs, glob(v)+"@*") // with any issuer
		}
	}
	ids, err := x.numbers(ctx, "SELECT n FROM names WHERE "+strings.TrimSuffix(strings.Repeat("text GLOB ? OR ", len(globs)), " OR ")+" LIMIT ?", append(globs, mostTexts+1)...)
	if err != nil {
		return err
	}
	if len(ids) > mostTexts {
		return fmt.Errorf("%s:%s stands for too many names: say more of it", p.column, strings.Join(p.values, ","))
	}
	if len(ids) == 0 {
		w.nothing = not == ""
		return nil
	}
	list := p.column + " " + not + "IN (" + joined(ids) + ")"
	if not == "" {
		if len(ids) == 1 {
			w.and(fmt.Sprintf("%s = %d", p.column, ids[0]))
			return nil
		}
		n, err := x.numbers(ctx, "SELECT count(*) FROM (SELECT 1 FROM entries WHERE "+list+" LIMIT ?)", few)
		if err != nil {
			return err
		}
		if n[0] < few {
			w.and("n IN (SELECT n FROM entries WHERE " + list + ")")
			return nil
		}
	}
	w.and("+" + list)
	return nil
}

// word adds one word, which may stand in any text of an entry.
func (x *Index) word(ctx context.Context, w *where, word, not string) error {
	phrase := fts(word)
	ids, err := x.numbers(ctx, "SELECT rowid FROM words WHERE words MATCH ? LIMIT ?", phrase, mostTexts+1)
	if err != nil {
		return err
	}
	if len(ids) > mostTexts {
		return fmt.Errorf("%s stands in too many texts: say more of it", word)
	}
	var each, passed []string
	if len(ids) > 0 {
		for _, c := range indexed {
			each = append(each, "SELECT n FROM entries WHERE "+c+" IN ("+joined(ids)+")")
			passed = append(passed, "+"+c+" IN ("+joined(ids)+")")
		}
	}
	each = append(each, "SELECT rowid FROM details WHERE details MATCH ?")
	passed = append(passed, "n IN (SELECT rowid FROM details WHERE details MATCH ?)")
	n, err := x.numbers(ctx, "SELECT count(*) FROM ("+strings.Join(each, " UNION ALL ")+" LIMIT ?)", phrase, few)
	if err != nil {
		return err
	}
	if n[0] < few {
		w.and("n "+not+"IN ("+strings.Join(each, " UNION ")+")", phrase)
		return nil
	}
	w.and(not+"("+strings.Join(passed, " OR ")+")", phrase)
	return nil
}

// numbers runs a query that gives one number a row.
func (x *Index) numbers(ctx context.Context, text string, args ...any) (out []int64, err error) {
	rows, err := x.db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, rows.Err()
}

func joined(ids []int64) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(id, 10))
	}
	return b.String()
}

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?,", n), ",") }

func anys(values []string) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

// glob makes a pattern of SQLite of what a person wrote, in which only * is special.
func glob(v string) string { return strings.NewReplacer("[", "[[]", "?", "[?]").Replace(v) }

// fts makes one phrase of a word, or the beginning of one.
func fts(word string) string {
	begin := strings.HasSuffix(word, "*")
	word = `"` + strings.ReplaceAll(strings.TrimSuffix(word, "*"), `"`, `""`) + `"`
	if begin {
		word += "*"
	}
	return word
}
