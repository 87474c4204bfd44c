// Package child runs the real servers of tests and demonstrations as child processes: they die with this process however it dies,
// print into a file, and can be killed, frozen and thawed. Their ports come from a range that systems leave alone.
package child
