//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

func stopSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

func notifyReload(c chan<- os.Signal) { signal.Notify(c, syscall.SIGHUP) }
