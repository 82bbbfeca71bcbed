package kit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"sync"
)

// The two revisions that tests speak.
const (
	ModernVersion = "2026-07-28"
	LegacyVersion = "2025-11-25"
)

// Everything declares all that a client can do in core MCP.
const Everything = `{"sampling":{},"roots":{},"elicitation":{"form":{},"url":{}}}`

// WithTasks declares Everything and the tasks extension.
const WithTasks = `{"sampling":{},"roots":{},"elicitation":{"form":{},"url":{}},"extensions":{"io.modelcontextprotocol/tasks":{}}}`

// Peer is a client that keeps every byte it is sent. It is no SDK: it sends
// what it is told, also what no SDK would send.
type Peer struct {
	// Modern makes the peer speak 2026-07-28, without initialize.
	Modern bool
	// Capabilities is a JSON object; empty is {}.
	Capabilities string
	// Answer serves the requests of a legacy server; nil refuses them.
	Answer func(method string, params json.RawMessage) (result string)
	// OnNote is called for every notification, in order.
	OnNote func(method string, params json.RawMessage)

	link link
	mu   sync.Mutex
	id   int
}

// link carries one request to the server and back. other is called for every
// message that arrives before the response to id.
type link interface {
	send(ctx context.Context, m outgoing, other func([]byte)) (response []byte, status int, err error)
	Close() error
}

type outgoing struct {
	id     string // empty for what needs no response
	method string
	target string
	body   []byte
}

// Params are the members of a request's params. Values that are
// json.RawMessage travel as they are.
type Params map[string]any

// Reply is what came back for one request.
type Reply struct {
	// Status is the HTTP status; 0 over stdio.
	Status int
	// Result and Error hold the exact bytes of that member.
	Result json.RawMessage
	Error  json.RawMessage
	// Body is the whole message.
	Body []byte
}

// Code is the JSON-RPC error code, 0 when there is none.
func (r *Reply) Code() int {
	var e struct {
		Code int `json:"code"`
	}
	if len(r.Error) == 0 || json.Unmarshal(r.Error, &e) != nil {
		return 0
	}
	return e.Code
}

// Members are the members of the result, each with its exact bytes.
func (r *Reply) Members() map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(r.Result, &m) != nil {
		return nil
	}
	return m
}

// Text is the first text block of a tool's result.
func (r *Reply) Text() string {
	var v struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	}
	if json.Unmarshal(r.Result, &v) != nil || len(v.Content) == 0 {
		return ""
	}
	return v.Content[0].Text
}

// Begin sends initialize and initialized; in the modern era it does nothing.
func (p *Peer) Begin(ctx context.Context) error {
	if p.Modern {
		return nil
	}
	r, err := p.Do(ctx, "initialize", Params{
		"protocolVersion": LegacyVersion,
		"capabilities":    json.RawMessage(p.caps()),
		"clientInfo":      json.RawMessage(clientInfo),
	})
	if err != nil {
		return err
	}
	if r.Error != nil {
		return fmt.Errorf("initialize refused: %s", r.Error)
	}
	return p.Notify(ctx, "notifications/initialized", nil)
}

const clientInfo = `{"name":"munjigi-peer","version":"1.0.0"}`

func (p *Peer) caps() string {
	if p.Capabilities == "" {
		return "{}"
	}
	return p.Capabilities
}

// Close ends the connection.
func (p *Peer) Close() error { return p.link.Close() }

// Do sends one request and waits for its response.
func (p *Peer) Do(ctx context.Context, method string, params Params) (*Reply, error) {
	p.mu.Lock()
	p.id++
	id := strconv.Itoa(p.id)
	p.mu.Unlock()
	params = p.dressed(params)
	body, err := encodeMessage(map[string]any{"jsonrpc": "2.0", "id": json.RawMessage(id), "method": method, "params": params})
	if err != nil {
		return nil, err
	}
	raw, status, err := p.link.send(ctx, outgoing{id: id, method: method, target: target(method, params), body: body}, p.hear(ctx))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	r := &Reply{Status: status, Body: raw}
	var m struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return r, fmt.Errorf("%s: HTTP %d: no message came back: %q", method, status, raw)
	}
	r.Result, r.Error = m.Result, m.Error
	return r, nil
}

// Call calls a tool; arguments is a JSON object, more are further params.
func (p *Peer) Call(ctx context.Context, tool, arguments string, more Params) (*Reply, error) {
	params := Params{"name": tool, "arguments": json.RawMessage(arguments)}
	maps.Copy(params, more)
	return p.Do(ctx, "tools/call", params)
}

// Notify sends a notification.
func (p *Peer) Notify(ctx context.Context, method string, params Params) error {
	m := map[string]any{"jsonrpc": "2.0", "method": method}
	if params = p.dressed(params); len(params) > 0 {
		m["params"] = params
	}
	body, err := encodeMessage(m)
	if err != nil {
		return err
	}
	_, _, err = p.link.send(ctx, outgoing{method: method, body: body}, nil)
	return err
}

// dressed adds the metadata of a modern request; what the caller set stays.
func (p *Peer) dressed(params Params) Params {
	out := Params{}
	maps.Copy(out, params)
	if !p.Modern {
		return out
	}
	meta := map[string]any{
		"io.modelcontextprotocol/protocolVersion":    ModernVersion,
		"io.modelcontextprotocol/clientInfo":         json.RawMessage(clientInfo),
		"io.modelcontextprotocol/clientCapabilities": json.RawMessage(p.caps()),
	}
	if given, ok := params["_meta"].(map[string]any); ok {
		maps.Copy(meta, given)
	}
	out["_meta"] = meta
	return out
}

func target(method string, params Params) string {
	key := map[string]string{
		"tools/call": "name", "prompts/get": "name", "resources/read": "uri",
		"tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId",
	}[method]
	s, _ := params[key].(string)
	return s
}

// hear serves what arrives beside a response.
func (p *Peer) hear(ctx context.Context) func([]byte) {
	return func(raw []byte) {
		var m struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
			Params json.RawMessage `json:"params"`
		}
		if json.Unmarshal(raw, &m) != nil || m.Method == "" {
			return
		}
		if len(m.ID) == 0 {
			if p.OnNote != nil {
				p.OnNote(m.Method, m.Params)
			}
			return
		}
		answer := map[string]any{"jsonrpc": "2.0", "id": m.ID}
		if p.Answer == nil {
			answer["error"] = map[string]any{"code": -32601, "message": "this client serves nothing"}
		} else {
			answer["result"] = json.RawMessage(p.Answer(m.Method, m.Params))
		}
		body, err := encodeMessage(answer)
		if err != nil {
			return
		}
		_, _, _ = p.link.send(ctx, outgoing{body: body}, nil) // a server that has gone needs no answer
	}
}

// encodeMessage keeps raw values' bytes apart from the space around tokens.
func encodeMessage(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimRight(buf.Bytes(), "\n"), err
}
