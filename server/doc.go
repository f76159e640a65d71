// Package server holds the doors: sessions, drivers and the command table.
package server
