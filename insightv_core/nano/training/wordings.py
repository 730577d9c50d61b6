"""More ways to ask, for training alone.

From the six phrasings of a family that the demo knows, the model does not learn which words matter, and the two of the
evaluation tell it little: asked in known words, nano-teacher was right in 58% of "line_rises", in others in 25%.
"""

MORE_WORDINGS = {
    "bar_value": (
        "How high is the bar of {name}?", "What number does the bar of {name} have?", "Tell me the value of {name}.",
        "What value stands over {name}?", "Which number belongs to {name}?", "What does {name} show?",
    ),
    "line_value": (
        "What number does the line reach in {name}?", "How much was it in {name}?", "Tell me the value in {name}.",
        "What value belongs to {name}?", "How high is the line in {name}?", "What does it show in {name}?",
    ),
    "title_word": (
        "What stands above the chart?", "What is written over the chart?", "What is written at the top?",
        "Which word stands at the top of the chart?", "Which word do you read above the picture?",
        "What does it say above the chart?", "Name the chart.", "What heading does the chart have?",
    ),
    "table_cell": (
        "What stands under {head} for {name}?", "For {name}, what value is given under {head}?",
        "What value does {name} have in the column {head}?", "Under {head}, what does {name} have?",
    ),
    "cell_color": (
        "Tell me the color at row {row}, column {column}.", "Which color do you see in row {row}, column {column}?",
        "What color has the shape in row {row}, column {column}?",
    ),
    "count_few": (
        "What is the count of {plural}?", "Tell me the number of {plural}.",
        "What number of {plural} does the grid have?", "How many {plural} can you see in the grid?",
        "How many {plural} does the picture show?",
    ),
    "side_length": (
        "What length is written at {side}?", "Tell me the length of {side}.", "What length does {side} have?",
        "What is the length of the line {side}?", "Which number belongs to the side {side}?",
    ),
    "bar_total": (
        "Sum up the bars.", "What total do the bars reach?", "If all bars were one, how high would it be?",
        "Take all the values together. How much is it?", "Tell me the total of the values.",
        "What do you get if you add the values of the chart?",
    ),
    "bar_range": (
        "How much lower is the smallest bar than the largest?", "What lies between the largest and the smallest value?",
        "What is the largest value minus the smallest?", "Take the shortest bar from the tallest. What is left?",
        "By how much does the largest value exceed the smallest?", "Tell me how far the tallest is above the shortest.",
    ),
    "bar_count_above": (
        "How many bars go above {limit}?", "Tell me how many values are above {limit}.",
        "How many bars are larger than {limit}?", "What number of values exceed {limit}?",
        "Count the bars above {limit}.", "How many are there with more than {limit}?",
    ),
    "bar_pairs": (
        "Together, are {a} and {b} larger than {c} and {d}?", "Is there more in {a} and {b} than in {c} and {d}?",
        "Add {a} and {b}. Is it more than {c} and {d} together?", "Do {a} plus {b} exceed {c} plus {d}?",
        "Are {a} and {b} more than {c} and {d} in total?",
        "Compare {a} and {b} with {c} and {d}: do the first have more?",
    ),
    "line_largest_rise": (
        "Name the {unit} that rose the most.", "Which {unit} went up the most from the one before?",
        "Where does the line climb the most? Name the {unit}.",
        "After which step up is the gain largest? Tell the {unit}.",
        "Which {unit} is the largest step up from the {unit} before?", "Tell me the {unit} of the largest growth.",
    ),
    "line_rises": (
        "How many rises does the line have?", "What is the number of rises?", "Tell me how often the line rises.",
        "Count how often it goes up.", "How many steps of the line go up?",
        "How often does it grow from one {unit} to the next?", "How many times does the line climb?",
        "Count how many times the line goes up.", "How many times is there a rise?", "Count the times the line rises.",
        "How many {unit}s bring a rise?", "How many times does it go up from {unit} to {unit}?",
    ),
    "pie_difference": (
        "How much larger are {one} together than {two}?", "Take {two} from {one} together. What is left?",
        "What do {one} together have more than {two}?", "How far are {one} together above {two}?",
        "What is {one} together minus {two}?", "Tell me by how much {one} in total exceed {two}.",
        "Taken together, by how much do {one} exceed {two}?", "Together, how much more are {one} than {two}?",
    ),
    "table_best_product": (
        "What earned the most?", "Name the item with the most money.", "Which item made the most money?",
        "Tell me the item that earned the most.", "Price times sold: which item has the most?",
        "Which of the items brought in the most money?",
    ),
    "table_column_difference": (
        "How far is the total of {one} above the total of {two}?",
        "Sum {one} and sum {two}. How much more is the first?", "How much more is there under {one} than under {two}?",
        "Take the sum of {two} from the sum of {one}.",
        "By how much do the values of {one} exceed those of {two} in total?",
        "How much larger is the sum of {one} than that of {two}?",
    ),
    "production_false": (
        "Tell me which statement is false.", "What statement is false?", "Which of the statements does not hold?",
        "One statement is not true. Which one?", "Name the false statement.",
        "Which statement does the table not agree with?",
    ),
    "production_extra_revenue": (
        "With worker {workers}, how much does the revenue grow?", "What is added to the revenue by worker {workers}?",
        "How much larger is the revenue with worker {workers}?", "Tell me the revenue that worker {workers} adds.",
        "What more revenue does worker {workers} make?", "How much extra revenue comes with worker {workers}?",
    ),
    "grid_difference": (
        "How many {one} more than {two} does the grid have?", "Count {one}, then take away the {two}. What is left?",
        "What is left of the number of {one} without that of {two}?", "The {one} are more than the {two}. By how many?",
        "Tell me how many more {one} there are than {two}.", "By what number are there more {one} than {two}?",
    ),
    "grid_once": (
        "Which {feature} is there one time only?", "Name the {feature} that appears once.",
        "What {feature} appears only once?", "Tell me the {feature} that you see only once.",
        "Only one {feature} is there once. Which is it?", "Which {feature} do you find just once?",
    ),
    "grid_walk": (
        "You start at the {start} and go {walk}. Which color is it?", "What color is {walk} from the {start}?",
        "Tell me the color {walk} from the {start}.", "Beginning at the {start}, go {walk}. What color is there?",
        "Which color do you reach when you go {walk} from the {start}?",
        "Look {walk} from the {start}: what color is it?",
    ),
    "triangle_angle": (
        "Tell me the size of the angle {corner}.", "What is the angle {corner}?",
        "How many degrees has the angle {corner}?", "What size is the missing angle?",
        "One angle is missing. How large is {corner}?", "What degrees belong to {corner}?",
    ),
    "polygon_perimeter": (
        "Tell me the perimeter.", "How long is it around the shape?", "What is the total of the sides?",
        "What total do all the sides have?", "Sum up the sides. How much is it?",
        "What is the length of all sides added up?",
    ),
    "route_shortest": (
        "On the shortest way from {start} to {end}, which place do you pass?",
        "Which place is passed on the shortest way from {start} to {end}?",
        "What place lies between {start} and {end} on the shortest way?",
        "Name the place on the shortest way from {start} to {end}.",
        "To go from {start} to {end} the shortest way, which place do you go through?",
        "Tell me the place on the way from {start} to {end} that is shortest.",
    ),
    "route_length": (
        "Tell me the length of the shortest way from {start} to {end}.",
        "How long is it from {start} to {end} at least?",
        "Take the shortest way from {start} to {end}. How long is it?",
        "How far do you have to go from {start} to {end}?", "What is the least distance from {start} to {end}?",
        "How short can the way from {start} to {end} be?",
    ),
}  # fmt: skip
