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
)

// aims says of the cells that have an aim whether it is met. Beside the rate
// stands what the CPU of all processes says: on a machine that is full, both
// would be the same, but other programs disturb this one less.
func aims(results []result) string {
	var b strings.Builder
	for _, r := range results {
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
