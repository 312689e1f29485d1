//! Progress of long commands, on standard error: a bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts records and bytes without knowing how many there are.
pub(crate) fn counting(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = "{spinner} {msg}  {human_pos} records  {per_sec}  {elapsed}";
    style_of(&bar, style);
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

/// A bar over so many records.
pub(crate) fn over(what: &str, records: u64) -> ProgressBar {
    let bar = ProgressBar::new(records);
    let style = "{msg}  {wide_bar}  {human_pos}/{human_len} records  {per_sec}  {eta}";
    style_of(&bar, style);
    bar.set_message(what.to_owned());
    bar
}

/// A bar over the parts of a measurement.
pub(crate) fn parts(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    style_of(&bar, "{bar:20}  {msg}  {elapsed}");
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

fn style_of(bar: &ProgressBar, template: &str) {
    // The templates are constants; one that could not be read would leave the plain style.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}
