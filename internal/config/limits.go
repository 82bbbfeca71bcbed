package config

import (
	"time"

	"go.yaml.in/yaml/v3"
)

// Limits bound what callers and servers can make the gateway hold and wait
// for. A zero limit refuses everything it bounds.
type Limits struct {
	// Body is the size of a request of a client, in bytes.
	Body int64
	// Result is the size of one message of a server, in bytes.
	Result int64
	// Headers is the size of a request's headers, in bytes.
	Headers int64
	// Depth is how deep a message may nest.
	Depth int
	// Connections is how many connections are open at once.
	Connections int
	// Streams is how many streams of responses are open at once.
	Streams int
	// Sessions is how many legacy sessions exist at once.
	Sessions int
	// PerPrincipal bounds hold for one principal at one time.
	PerPrincipalCalls     int
	PerPrincipalStreams   int
	PerPrincipalSessions  int
	PerPrincipalSuspended int
	// HeaderTimeout is for a request's headers to arrive, BodyTimeout for the
	// whole request, WriteTimeout for one write to be taken.
	HeaderTimeout time.Duration
	BodyTimeout   time.Duration
	WriteTimeout  time.Duration
	// IdleTimeout is how long a connection may wait for its next request.
	IdleTimeout time.Duration
	// SessionTimeout is how long an unused legacy session is kept.
	SessionTimeout time.Duration
	// SessionLifetime is how long a legacy session is kept however much it is
	// used.
	SessionLifetime time.Duration
	// SuspendTimeout is how long a call waits for a client's answer to a
	// server's question.
	SuspendTimeout time.Duration
	// DrainTimeout is how long a graceful stop waits for calls to end.
	DrainTimeout time.Duration
}

type limitKind int

const (
	limitCount limitKind = iota
	limitSize
	limitTime
)

// limit is one row of the table of limits.
type limit struct {
	name               string
	kind               limitKind
	usual, least, most int64
	in                 func(*Limits) any
}

func limits() []limit {
	const (
		ms  = int64(time.Millisecond)
		sec = int64(time.Second)
		day = 24 * 3600 * sec
	)
	return []limit{
		{"body", limitSize, 4 << 20, 1 << 10, 1 << 30, func(l *Limits) any { return &l.Body }},
		{"result", limitSize, 16 << 20, 1 << 10, 1 << 30, func(l *Limits) any { return &l.Result }},
		{"headers", limitSize, 32 << 10, 1 << 10, 1 << 20, func(l *Limits) any { return &l.Headers }},
		{"depth", limitCount, 64, 4, 1024, func(l *Limits) any { return &l.Depth }},
		{"connections", limitCount, 4096, 1, 1 << 20, func(l *Limits) any { return &l.Connections }},
		{"streams", limitCount, 4096, 1, 1 << 20, func(l *Limits) any { return &l.Streams }},
		{"sessions", limitCount, 1 << 16, 1, 1 << 24, func(l *Limits) any { return &l.Sessions }},
		{"per_principal_calls", limitCount, 256, 1, 1 << 20, func(l *Limits) any { return &l.PerPrincipalCalls }},
		{"per_principal_streams", limitCount, 256, 1, 1 << 20, func(l *Limits) any { return &l.PerPrincipalStreams }},
		{"per_principal_sessions", limitCount, 1024, 1, 1 << 24, func(l *Limits) any { return &l.PerPrincipalSessions }},
		{"per_principal_suspended", limitCount, 16, 1, 1 << 16, func(l *Limits) any { return &l.PerPrincipalSuspended }},
		{"header_timeout", limitTime, 10 * sec, 100 * ms, 3600 * sec, func(l *Limits) any { return &l.HeaderTimeout }},
		{"body_timeout", limitTime, 30 * sec, 100 * ms, 3600 * sec, func(l *Limits) any { return &l.BodyTimeout }},
		{"write_timeout", limitTime, 30 * sec, 100 * ms, 3600 * sec, func(l *Limits) any { return &l.WriteTimeout }},
		{"idle_timeout", limitTime, 120 * sec, sec, day, func(l *Limits) any { return &l.IdleTimeout }},
		{"session_timeout", limitTime, 1800 * sec, sec, 7 * day, func(l *Limits) any { return &l.SessionTimeout }},
		{"session_lifetime", limitTime, day, sec, 30 * day, func(l *Limits) any { return &l.SessionLifetime }},
		{"suspend_timeout", limitTime, 300 * sec, sec, day, func(l *Limits) any { return &l.SuspendTimeout }},
		{"drain_timeout", limitTime, 10 * sec, 100 * ms, 3600 * sec, func(l *Limits) any { return &l.DrainTimeout }},
	}
}

// DefaultLimits returns the limits that hold where the file says nothing.
func DefaultLimits() Limits {
	var l Limits
	for _, row := range limits() {
		row.set(&l, row.usual)
	}
	return l
}

func (row limit) get(l *Limits) int64 {
	switch p := row.in(l).(type) {
	case *int64:
		return *p
	case *int:
		return int64(*p)
	case *time.Duration:
		return int64(*p)
	}
	panic("config: limit " + row.name + " is of no known type")
}

func (row limit) set(l *Limits, v int64) {
	switch p := row.in(l).(type) {
	case *int64:
		*p = v
	case *int:
		*p = int(v)
	case *time.Duration:
		*p = time.Duration(v)
	}
}

func (row limit) format(v int64) string {
	switch row.kind {
	case limitSize:
		return formatSize(v)
	case limitTime:
		return time.Duration(v).String()
	}
	return formatCount(v)
}

func (row limit) read(s *source, n *yaml.Node, key string, into *Limits) {
	var v int64
	var ok bool
	switch row.kind {
	case limitSize:
		v, ok = s.size(n, key, row.least, row.most)
	case limitTime:
		var d time.Duration
		d, ok = s.duration(n, key, time.Duration(row.least), time.Duration(row.most))
		v = int64(d)
	default:
		v, ok = s.count(n, key, row.least, row.most)
	}
	if ok {
		row.set(into, v)
	}
}

func limitFields() []field[Limits] {
	rows := limits()
	fields := make([]field[Limits], len(rows))
	for i, row := range rows {
		fields[i] = field[Limits]{row.name, row.read}
	}
	return fields
}
