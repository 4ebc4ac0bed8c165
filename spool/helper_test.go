package spool

import "restante/spool/blob"

var absent = blob.Cond{Absent: true}
