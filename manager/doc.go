// Package manager moves routing values between units over HTTP. A Manager is an http.Handler:
//
//	GET /switch?values=guangzhou            with two units: to the other one
//	GET /switch?values=a,b&to=unit-3        create=true makes rules for values without one of their own;
//	                                        allow-unmanaged=group overrides a guard; deadline=20s
//	GET /switch?from=unit-2&to=unit-1       everything of a unit
//	GET /routes /units /orders              the documents as JSON
//	GET /healthz /metrics                   metrics in Prometheus text format
//
// Managers hold no state of their own: any number may run, and one finishes the switches another one left.
package manager
