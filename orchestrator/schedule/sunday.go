package schedule

import (
	"slices"
	"strconv"
	"strings"
)

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// withSunday writes a line's field of weekdays without a Sunday at the end of the week: crontab(5) takes 7 for it, and ranges
// such as fri-sun, and the parser does not. What it cannot read it leaves to the parser.
func withSunday(line string) string {
	fields := strings.Fields(line)
	if len(fields) != 5 {
		return line
	}
	parts := strings.Split(fields[4], ",")
	for i, part := range parts {
		span, step, stepped := strings.Cut(part, "/")
		from, to, ranged := strings.Cut(span, "-")
		every, err := 1, error(nil)
		if stepped {
			every, err = strconv.Atoi(step)
		}
		first, last := weekday(from), weekday(to)
		switch {
		case err != nil || every < 1 || first < 0:
		case !ranged && first == 7 && !stepped:
			parts[i] = "0"
		case last == 7 || strings.EqualFold(to, "sun") && first > 0:
			var days []string
			for day := first; day <= 7; day += every {
				days = append(days, strconv.Itoa(day%7))
			}
			parts[i] = strings.Join(days, ",")
		}
	}
	fields[4] = strings.Join(parts, ",")
	return strings.Join(fields, " ")
}

// weekday is -1 for what is none.
func weekday(text string) int {
	if len(text) == 1 && text[0] >= '0' && text[0] <= '7' {
		return int(text[0] - '0')
	}
	return slices.Index(weekdays, strings.ToLower(text))
}
