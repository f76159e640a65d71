//go:build !linux

package main

import "time"

func preciseSleeps() {}

func sleep(d time.Duration) { time.Sleep(d) }
