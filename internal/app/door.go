package app

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// door is a listener that holds at most so many connections. When all are
// there, the one that has waited longest for its client's next request makes
// room for who comes; when every one of them is being served, who comes is
// turned away at once. So nobody locks others out by holding connections that
// they do not use, and nobody waits in a queue without an end.
type door struct {
	net.Listener
	most int

	mu      sync.Mutex
	inside  int
	waiting list.List // of *guest, the longest wait first
}

// guest is one connection; its place is nil while it is served.
type guest struct {
	net.Conn
	door  *door
	place *list.Element
	left  bool
}

func newDoor(l net.Listener, most int) *door { return &door{Listener: l, most: most} }

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g, out := d.admit(c)
		if out != nil {
			_ = out.Close()
		}
		if g != nil {
			return g, nil
		}
	}
}

// admit lets a connection in and returns the one that has to leave for it:
// one that waits, or itself.
func (d *door) admit(c net.Conn) (in *guest, out net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inside >= d.most {
		oldest := d.waiting.Front()
		if oldest == nil {
			return nil, c
		}
		if g, ok := oldest.Value.(*guest); ok {
			d.leave(g)
			out = g.Conn
		}
	}
	d.inside++
	in = &guest{Conn: c, door: d}
	in.place = d.waiting.PushBack(in)
	return in, out
}

// leave counts a guest out; mu is held.
func (d *door) leave(g *guest) {
	if g.left {
		return
	}
	g.left = true
	d.inside--
	if g.place != nil {
		d.waiting.Remove(g.place)
		g.place = nil
	}
}

// moved follows a connection through an http.Server, as its ConnState. A
// connection that sends a request's headers still waits.
func moved(c net.Conn, s http.ConnState) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	g, ok := c.(*guest)
	if !ok {
		return
	}
	g.door.mu.Lock()
	defer g.door.mu.Unlock()
	switch {
	case g.left:
	case s == http.StateActive && g.place != nil:
		g.door.waiting.Remove(g.place)
		g.place = nil
	case s == http.StateIdle && g.place == nil:
		g.place = g.door.waiting.PushBack(g)
	case s == http.StateIdle:
		g.door.waiting.MoveToBack(g.place)
	}
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.door.mu.Lock()
	g.door.leave(g)
	g.door.mu.Unlock()
	return g.Conn.Close()
}
