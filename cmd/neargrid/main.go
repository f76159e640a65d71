// Command neargrid runs and inspects a neargrid node.
package main

func main() {}
