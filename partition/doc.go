// Package partition holds one partition's data.
package partition
