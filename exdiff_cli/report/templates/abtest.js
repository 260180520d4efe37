const choices = [...document.querySelectorAll("[name=answer]")];
const form = {
  names: ["A", "B"],
  first: 0,
  unheard: "Listen to both first.",
  shown(answer) {
    for (const choice of choices) choice.checked = choice.value === answer?.answer;
  },
  read: () => ({ answer: choices.find((choice) => choice.checked)?.value ?? null }),
  fault: (answer) => (answer.answer ? "" : "Choose A, B or no preference."),
  key({ key }) {
    const clip = ["a", "b"].indexOf(key.toLowerCase());
    if (clip >= 0) return () => listen(clip);
    const answers = { 1: 0, ArrowLeft: 0, 2: 1, ArrowRight: 1, 0: 2, ArrowDown: 2 };
    return key in answers ? () => choose(choices[answers[key]]) : null;
  },
};

function choose(choice) {
  choice.checked = true;
  hint("");
  keep();
  at("playing").textContent = choice.value === "none" ? "No preference" : `You prefer ${choice.value.toUpperCase()}`;
}

for (const choice of choices) choice.addEventListener("change", () => choose(choice));
started();
