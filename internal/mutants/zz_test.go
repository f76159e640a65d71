package main

import "testing"

func TestZZ(t *testing.T) {
	t.Chdir("../..")
	if err := run("bin/mut"); err != nil {
		t.Fatal(err)
	}
}
