package catalog_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/catalog"
	"github.com/munjigi/munjigi/internal/mcp"
)

func raws(s ...string) (out [][]byte) {
	for _, x := range s {
		out = append(out, []byte(x))
	}
	return out
}

const tools = catalog.Kind(mcp.MethodToolsList)

func TestViewsAreKeyedByCaller(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := catalog.New(8)
	c.Put(catalog.Key{Server: "s", Caller: "a", Kind: tools}, raws(`{"name":"x","inputSchema":{}}`), now, 0)
	if _, ok := c.Get(catalog.Key{Server: "s", Caller: "b", Kind: tools}, now); ok {
		t.Error("another caller sees the view")
	}
	v, ok := c.Get(catalog.Key{Server: "s", Caller: "a", Kind: tools}, now)
	if !ok || v.Len() != 1 {
		t.Fatal("the view is not there")
	}
	if _, ok := c.Get(catalog.Key{Server: "s", Caller: "a", Kind: tools}, now.Add(catalog.DefaultTTL+time.Second)); ok {
		t.Error("the view never ends")
	}
	c.Put(catalog.Key{Server: "s", Caller: "a", Kind: tools}, nil, now, 1000*time.Hour)
	if _, ok := c.Get(catalog.Key{Server: "s", Caller: "a", Kind: tools}, now.Add(catalog.MaxTTL+time.Second)); ok {
		t.Error("a server's hint is not bounded")
	}
	c.Forget("s", tools)
	if _, ok := c.Get(catalog.Key{Server: "s", Caller: "a", Kind: tools}, now); ok {
		t.Error("the view was not forgotten")
	}
}

func TestBounded(t *testing.T) {
	t.Parallel()
	c := catalog.New(10)
	now := time.Now()
	live := 0
	for i := range 100 {
		c.Put(catalog.Key{Server: "s", Caller: strconv.Itoa(i), Kind: tools}, nil, now, 0)
	}
	for i := range 100 {
		if _, ok := c.Get(catalog.Key{Server: "s", Caller: strconv.Itoa(i), Kind: tools}, now); ok {
			live++
		}
	}
	if live > 10 {
		t.Errorf("%d views", live)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	for in, broken := range map[string]bool{
		`{"name":"a","inputSchema":{"type":"object"}}`: false,
		`{"name":"a"}`:                 true,
		`{"name":"a","inputSchema":5}`: true,
		`{"name":"a","inputSchema":{"properties":{"p":{"type":"number","x-mcp-header":"P"}}}}`: true,
	} {
		d, ok := catalog.Read(tools, []byte(in))
		if !ok || (d.Broken != "") != broken {
			t.Errorf("%s: %v %+v", in, ok, d)
		}
	}
	for _, in := range []string{`{}`, `{"name":""}`, `{"name":5}`, `[]`} {
		if _, ok := catalog.Read(tools, []byte(in)); ok {
			t.Errorf("%s is a definition", in)
		}
	}
	a, _ := catalog.Read(tools, []byte(`{"name":"a","inputSchema":{},"title":"x"}`))
	b, _ := catalog.Read(tools, []byte(`{"title":"x", "inputSchema":{},"name":"a"}`))
	c, _ := catalog.Read(tools, []byte(`{"name":"a","inputSchema":{},"title":"y"}`))
	if a.Digest != b.Digest || a.Digest == c.Digest {
		t.Error("the digest covers the order of members, or not the title")
	}
}

func TestANameListedTwiceIsHeld(t *testing.T) {
	t.Parallel()
	c := catalog.New(8)
	v := c.Put(catalog.Key{Server: "s", Kind: tools}, raws(`{"name":"x","inputSchema":{}}`, `{"name":"x","inputSchema":{"a":1}}`), time.Now(), 0)
	if d, ok := v.Lookup("x"); !ok || d.Broken == "" {
		t.Errorf("%+v", d)
	}
}
