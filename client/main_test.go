package client

import (
	"testing"

	"github.com/neargrid/neargrid/internal/testredis"
)

// TestMain fails where goroutines are left behind.
func TestMain(m *testing.M) { testredis.Exit(m.Run()) }
