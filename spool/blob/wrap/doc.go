// Package wrap has Stores around Stores: Retry repeats what is safe to repeat, Limit bounds how many calls run at once, Meter
// counts and times them for Prometheus, Counter sums up what they would cost at S3, and Fault makes them go wrong in tests. Each is alone, so that
// each is tested alone; the usual order is Meter(Retry(Limit(store))).
package wrap
