package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/catalog"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/guard/all"
	"github.com/munjigi/munjigi/internal/guard/arguments"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/mcp"
)

// guardsOf builds the guards as a config wants them. ring may be nil where
// nothing is kept.
func guardsOf(cfg *config.Config, ring keys.Ring) (*guard.Set, error) {
	modes, settings := map[string]guard.Mode{}, all.Settings{}
	for _, g := range cfg.Guards {
		settings.OpenTools = append(settings.OpenTools, g.InsecureUnknownProperties...)
		if g.Name == arguments.Name {
			settings.Arguments = argumentsOf(g.Arguments)
		}
		modes[g.Name] = mode(g.Mode)
	}
	if err := findSettings(cfg, ring, &settings); err != nil {
		return nil, err
	}
	return guard.Build(all.Guards(settings), modes)
}

// Inspector judges texts by the guards of a config, without a gateway and
// without memory. Make it with NewInspector.
type Inspector struct {
	guards  *guard.Set
	channel string
	limits  strictjson.Limits
}

// Channels are what Inspector can judge.
func Channels() []string { return []string{"prompt", "arguments", "result", "definition"} }

// NewInspector returns an inspector of one of the Channels.
func NewInspector(cfg *config.Config, channel string) (*Inspector, error) {
	set, err := guardsOf(cfg, nil)
	if err != nil {
		return nil, err
	}
	for _, c := range Channels() {
		if c == channel {
			return &Inspector{set, channel, strictjson.Default()}, nil
		}
	}
	return nil, fmt.Errorf("there is no channel %s: say prompt, arguments, result or definition", config.Visible(channel))
}

// Inspected counts what Lines judged.
type Inspected struct {
	Lines int // of input
	Found int // effect stronger than annotate
	Bad   int // not judged
}

// maxLine bounds one line of input.
const maxLine = 64 << 20

var errLineTooLong = errors.New("the line is longer than 64 MiB: split the text")

// Lines reads JSON lines and writes a line for each, flushed. The error is that
// of reading or writing; a line that cannot be judged gets a line that says so.
func (n *Inspector) Lines(ctx context.Context, in io.Reader, out io.Writer) (Inspected, error) {
	var done Inspected
	r, w := bufio.NewReaderSize(in, 1<<16), bufio.NewWriter(out)
	for {
		line, err := readLine(r)
		if err == io.EOF && len(line) == 0 {
			return done, nil
		}
		if err != nil && err != io.EOF && !errors.Is(err, errLineTooLong) {
			return done, err
		}
		if len(line) == 0 && err == nil {
			continue
		}
		done.Lines++
		answer, found, bad := n.line(ctx, line, err)
		if found {
			done.Found++
		}
		if bad {
			done.Bad++
		}
		if _, err := w.Write(append(answer, '\n')); err != nil {
			return done, err
		}
		if err := w.Flush(); err != nil {
			return done, err
		}
		if err == io.EOF {
			return done, nil
		}
	}
}

// readLine returns a line without its end. Of one that is too long it reads
// everything and returns nothing.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if !long {
			line = append(line, part...)
		}
		if len(line) > maxLine {
			line, long = nil, true
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if long && err == nil {
			return nil, errLineTooLong
		}
		for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
			line = line[:len(line)-1]
		}
		return line, err
	}
}

// line judges one line.
func (n *Inspector) line(ctx context.Context, line []byte, err error) (answer []byte, found, bad bool) {
	id := []byte("null")
	if errors.Is(err, errLineTooLong) {
		return badLine(id, err), false, true
	}
	l := n.limits
	l.Bytes = maxLine
	if err := strictjson.Validate(line, l); err != nil {
		return badLine(id, fmt.Errorf("the line is not JSON: %w", err)), false, true
	}
	o, err := strictjson.SplitObject(line)
	if err != nil {
		return badLine(id, errors.New(`the line is not an object: write {"id":"…","text":"…"}`)), false, true
	}
	if raw, ok := o.Get("id"); ok {
		id = raw
	}
	d, path, err := n.judge(ctx, o)
	if err != nil {
		return badLine(id, err), false, true
	}
	answer = append(append([]byte(`{"id":`), id...), `,"score":`...)
	answer = strconv.AppendFloat(answer, score(d), 'f', 6, 64)
	answer = append(strictjson.AppendString(append(answer, `,"effect":`...), effectName(d.Effect)), `,"findings":[`...)
	for i, f := range d.Findings {
		if i > 0 {
			answer = append(answer, ',')
		}
		answer = strictjson.AppendString(append(answer, `{"guard":`...), f.Guard)
		answer = strictjson.AppendString(append(answer, `,"reason":`...), string(f.Reason))
		answer = append(answer, fmt.Sprintf(`,"span":[%d,%d]`, f.Span[0], f.Span[1])...)
		if f.Path != path && f.Path != "" {
			answer = strictjson.AppendString(append(answer, `,"path":`...), f.Path)
		}
		answer = append(answer, '}')
	}
	return append(answer, "]}"...), d.Effect < call.Annotate, false
}

// score is the decision's score, at least as high as its effect says.
func score(d call.Decision) float64 {
	if math.IsNaN(d.Score) {
		return 1
	}
	return min(max(d.Score, 0), 1)
}

func badLine(id []byte, err error) []byte {
	return append(strictjson.AppendString(append(append([]byte(`{"id":`), id...), `,"error":`...), err.Error()), '}')
}

// effectName is the effect in the words of the contract.
func effectName(e call.Effect) string {
	if e == call.Challenge {
		e = call.Hold
	}
	return e.String()
}

// judge puts a text where guards meet it in the pipeline. The path is where
// the text stands.
func (n *Inspector) judge(ctx context.Context, o strictjson.Object) (d call.Decision, path string, err error) {
	if n.channel == "definition" {
		d, err = n.definition(ctx, o)
		return d, "", err
	}
	raw, ok := o.Get("text")
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeString {
		return d, "", errors.New(`the line has no text: write {"id":"…","text":"…"}`)
	}
	text, err := strictjson.String(raw)
	if err != nil {
		return d, "", err
	}
	quoted := strictjson.AppendString(nil, text)
	s := guard.Subject{Target: call.Target{Server: "inspect", Method: mcp.MethodToolsCall, Name: "inspect"}}
	place, stage := guard.Arguments, call.InspectRequest
	switch n.channel {
	case "result":
		place, stage, path = guard.Result, call.InspectResult, "/content/0/text"
		s.Raw = wrap(`{"content":[{"type":"text","text":`, quoted, `}]}`)
	case "prompt":
		s.Request, path, s.Target.Method = true, "/arguments/text", mcp.MethodPromptsGet
		s.Raw = wrap(`{"name":"inspect","arguments":{"text":`, quoted, `}}`)
	default:
		s.Request, path = true, "/arguments/text"
		s.Raw = wrap(`{"name":"inspect","arguments":{"text":`, quoted, `}}`)
	}
	d, _ = n.guards.Inspect(ctx, place, stage, s)
	runes := utf8.RuneCountInString(text)
	for i := range d.Findings {
		f := &d.Findings[i]
		if f.Path != path {
			f.Span = [2]int{}
		}
		f.Span[0] = min(max(f.Span[0], 0), runes)
		f.Span[1] = min(max(f.Span[1], f.Span[0]), runes)
	}
	return d, path, nil
}

func wrap(before string, middle []byte, after string) []byte {
	return append(append([]byte(before), middle...), after...)
}

// definition judges a tool, and what changed since the previous one.
func (n *Inspector) definition(ctx context.Context, o strictjson.Object) (call.Decision, error) {
	raw, ok := o.Get("tool")
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeObject {
		return call.Decision{}, errors.New(`the line has no tool: write {"id":"…","tool":{…}}`)
	}
	raw = whole(raw)
	now, ok := catalog.Read(mcp.MethodToolsList, raw)
	if !ok {
		return call.Decision{}, errors.New("the tool has no usable name")
	}
	if now.Broken != "" {
		return call.Decision{Effect: call.Hold, Findings: []call.Finding{{Guard: "catalog", Reason: "definition-unreadable"}}}, nil
	}
	s := guard.Subject{Target: call.Target{Server: "inspect", Method: mcp.MethodToolsList, Name: now.Name},
		Definition: &guard.Declared{Digest: now.Digest, Raw: raw}, Raw: raw}
	changed := false
	if before, ok := o.Get("previous"); ok && strictjson.TypeOf(before) == strictjson.TypeObject {
		before = whole(before)
		p, ok := catalog.Read(mcp.MethodToolsList, before)
		if !ok {
			return call.Decision{}, errors.New("the previous tool has no usable name")
		}
		s.Previous = &guard.Declared{Digest: p.Digest, Raw: before}
		changed = p.Digest != now.Digest
	}
	d, _ := n.guards.Inspect(ctx, guard.Definition, call.InspectResult, s)
	if changed {
		told := false
		for _, f := range d.Findings {
			told = told || f.Reason == call.ReasonDefinitionChanged
		}
		if !told {
			d.Findings = append(d.Findings, call.Finding{Guard: "definitions", Reason: call.ReasonDefinitionChanged})
		}
		d.Effect = min(d.Effect, call.Hold)
	}
	return d, nil
}

// whole gives a tool of a test, which may be no more than a name and a text, the
// schema that a tool has.
func whole(tool []byte) []byte {
	o, err := strictjson.SplitObject(tool)
	if _, has := o.Get("inputSchema"); err != nil || has {
		return tool
	}
	return o.With("inputSchema", []byte(`{"type":"object"}`)).Append(nil)
}
