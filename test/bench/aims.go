package main

import (
	"fmt"
	"strings"
)

// aims are the shares of the bare proxy's rate that the gateway should reach
// over HTTP with aimConnections connections, the record relaxed, by size.
const (
	aimConnections = 16
	aimSmall       = 0.9
	aimLarge       = 0.8
	small          = 1 << 10
	large          = 64 << 10
	aimToken       = 0.95 // of the rate without tokens, at 1 KB
	aimPolicy      = 0.9  // policy and schemas, of the rate without
	aimStrict      = 0.7  // of the relaxed record's rate
	aimGuardsSmall = 0.65 // every guard on, of the rate without
	aimGuardsLarge = 0.25
)

// aims says of the cells that have an aim whether it is met. Beside the rate
// stands what the CPU of all processes says: on a machine that is full, both
// would be the same, but other programs disturb this one less.
func aims(results []result) string {
	var b strings.Builder
	for _, r := range results {
		b.WriteString(besides(results, r))
		if without := rateOf(results, r.Cell, namePolicy); r.Through == nameJWT && r.Median.Rate.per(without).known() {
			got, verdict := r.Median.Rate.per(without), "met"
			if got < aimToken {
				verdict = "not met"
			}
			fmt.Fprintf(&b, "aim at %s: with tokens %s of the rate without; measured %s, %s (by the CPU of all processes: %s)\n",
				r.Cell, ratio(aimToken), ratio(got), verdict, ratio(cpuOf(results, r.Cell, namePolicy).per(r.Median.AllCPU)))
		}
		aim := figure(aimSmall)
		switch r.Cell {
		case cell{modern: true, size: small, connections: aimConnections}.String(), cell{size: small, connections: aimConnections}.String():
		case cell{modern: true, size: large, connections: aimConnections}.String(), cell{size: large, connections: aimConnections}.String():
			aim = aimLarge
		default:
			continue
		}
		if r.Through != nameRelaxed || !r.OfBare.known() {
			continue
		}
		verdict := "met"
		if r.OfBare < aim {
			verdict = "not met"
		}
		fmt.Fprintf(&b, "aim at %s: %s of the bare proxy's rate; measured %s, %s (by the CPU of all processes: %s)\n",
			r.Cell, ratio(aim), ratio(r.OfBare), verdict, ratio(cpuOf(results, r.Cell, nameProxy).per(r.Median.AllCPU)))
	}
	return b.String()
}

// besides says what a part of the gateway costs beside the gate alone.
func besides(results []result, r result) string {
	aim, what := figure(0), ""
	switch r.Through {
	case nameGuards:
		aim, what = aimGuardsSmall, "every guard on"
		if strings.Contains(r.Cell, "/"+bytesText(large)+"/") {
			aim = aimGuardsLarge
		}
	case nameStrict:
		aim, what = aimStrict, "a durable record"
	case namePolicy:
		aim, what = aimPolicy, "policy and schemas"
	default:
		return ""
	}
	got := r.Median.Rate.per(rateOf(results, r.Cell, nameRelaxed))
	if !got.known() || !strings.HasSuffix(r.Cell, fmt.Sprintf("/%d", aimConnections)) || strings.HasPrefix(r.Cell, "stdio") {
		return ""
	}
	verdict := "met"
	if got < aim {
		verdict = "not met"
	}
	return fmt.Sprintf("aim at %s: with %s %s of the gate's rate; measured %s, %s (by the CPU of all processes: %s)\n",
		r.Cell, what, ratio(aim), ratio(got), verdict, ratio(cpuOf(results, r.Cell, nameRelaxed).per(r.Median.AllCPU)))
}

// cpuOf is what a call that goes through one of the ways costs all processes
// together.
func cpuOf(results []result, cell, through string) figure {
	for _, r := range results {
		if r.Cell == cell && r.Through == through {
			return r.Median.AllCPU
		}
	}
	return unavailable()
}

func rateOf(results []result, cell, through string) figure {
	for _, r := range results {
		if r.Cell == cell && r.Through == through {
			return r.Median.Rate
		}
	}
	return unavailable()
}
