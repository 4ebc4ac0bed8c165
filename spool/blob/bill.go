package blob

import "fmt"

// Bill counts requests as S3 charges for them.
type Bill struct {
	Puts    int64 // PUT, POST, COPY
	Lists   int64 // LIST, priced as PUT
	Gets    int64 // GET, HEAD
	Deletes int64 // free
}

// Prices of S3 Standard in us-east-1, dollars a request.
const (
	pricePut = 0.005 / 1000
	priceGet = 0.0004 / 1000
)

// Dollars is what the requests cost at S3 Standard's prices: $0.005 per 1,000 PUT or LIST, $0.0004 per 1,000 GET.
func (b Bill) Dollars() float64 {
	return float64(b.Puts+b.Lists)*pricePut + float64(b.Gets)*priceGet
}

// Sub returns what was added since the earlier bill.
func (b Bill) Sub(earlier Bill) Bill {
	return Bill{
		Puts:    b.Puts - earlier.Puts,
		Lists:   b.Lists - earlier.Lists,
		Gets:    b.Gets - earlier.Gets,
		Deletes: b.Deletes - earlier.Deletes,
	}
}

// String is "12 PUT, 1 LIST, 30 GET, 2 DELETE: $0.000077".
func (b Bill) String() string {
	return fmt.Sprintf("%d PUT, %d LIST, %d GET, %d DELETE: $%.6f", b.Puts, b.Lists, b.Gets, b.Deletes, b.Dollars())
}
