const sliders = [...document.querySelectorAll("[data-rating]")];
const form = {
  names: [...sliders.map((_, number) => String.fromCharCode(65 + number)), "the reference"],
  first: sliders.length,
  unheard: "Listen to the reference and to all versions first.",
  shown(answer) {
    sliders.forEach((slider, number) => rate(slider, answer?.ratings?.[number] ?? null));
  },
  read: () => ({ ratings: sliders.map((slider) => (slider.classList.contains("unset") ? null : Number(slider.value))) }),
  fault({ ratings }) {
    if (ratings.includes(null)) return "Rate every version; move a slider away and back to leave it at 50.";
    return ratings.includes(100) ? "" : "One of the versions is the reference: rate at least one 100.";
  },
  key({ key }) {
    const clip = key.toLowerCase() === "r" ? sliders.length : key.toLowerCase().charCodeAt(0) - 97;
    if (key.length > 1 || !(clip >= 0 && clip <= sliders.length) || (clip === sliders.length && key.toLowerCase() !== "r")) return null;
    return () => {
      listen(clip);
      sliders[clip]?.focus();
    };
  },
};

function rate(slider, value) {
  slider.classList.toggle("unset", value === null);
  slider.value = value ?? 50;
  const shown = document.querySelector(`[data-shown="${slider.dataset.rating}"]`);
  shown.textContent = value ?? "–";
  slider.setAttribute("aria-valuetext", value === null ? "not rated" : String(value));
}

for (const slider of sliders) {
  const moved = () => {
    rate(slider, Number(slider.value));
    hint("");
    keep();
  };
  slider.addEventListener("input", moved);
  slider.addEventListener("pointerup", moved); // 50 is a rating too
}
started();
