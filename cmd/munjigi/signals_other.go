//go:build !unix

package main

import "os"

func stopSignals() []os.Signal { return []os.Signal{os.Interrupt} }

// notifyReload does nothing: a changed file is noticed by itself.
func notifyReload(chan<- os.Signal) {}
