//! Long random lives of bigger devices.

use std::time::Duration;

use model::report::FailureKind;
use model::request::{AfterShutdown, Control};

use crate::choice::{Ask, Choice, Landing, Save, What};
use crate::device::{Device, Saved, Stop};
use crate::explore::{Found, friendly_run, settled};
use crate::options::{friendly, options, saves};
use crate::scenario::{Faults, Loader, Scenario, State};
use crate::shell::Shell;
use crate::witness::{Law, Violation};

/// Numbers that look drawn, the same ones for the same seed (xorshift64*).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// One of `0..below`.
    pub fn below(&mut self, below: usize) -> usize {
        usize::try_from(self.next() % below.max(1) as u64).unwrap_or_default()
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    fn word(&mut self, from: &[&'static str]) -> &'static str {
        self.pick(from).copied().unwrap_or_default()
    }
}

/// Whether the disk takes what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fine,
    DiskFull,
}

/// One random life of so many events; the way it went, or the law it broke.
///
/// # Errors
/// A law that is broken.
pub fn live(scenario: &Scenario, seed: u64, events: usize) -> Result<Vec<Choice>, Box<Found>> {
    let mut dice = Dice::new(seed);
    let mut device = Device::new(scenario, Shell::Honest);
    let mut way: Vec<Choice> = Vec::with_capacity(events);
    let mut weather = Weather::Fine;
    while way.len() < events {
        if dice.once_in(400) {
            weather = Weather::DiskFull;
        } else if dice.once_in(60) {
            weather = Weather::Fine;
        }
        // Where nothing is under way, somebody asks for something sooner or later.
        let Some(what) = draw(scenario, &device, &mut dice, weather) else { continue };
        let save = draw_save(&device, &mut dice, weather);
        let choice = Choice { what, save };
        let next = match device.after(scenario, &choice) {
            Ok(next) => next,
            Err(Stop::Impossible(_)) => continue,
            Err(Stop::Broken(violation)) => {
                way.push(choice);
                return Err(Box::new(Found { violation, way }));
            }
        };
        let save = if next.saved == Saved::Nothing { Save::Works } else { save };
        way.push(Choice { save, ..choice });
        device = next.device;
    }
    let (rest, more) = friendly_run(scenario, device, None).map_err(|mut found| {
        found.way = [way.clone(), found.way.clone()].concat();
        found
    })?;
    way.extend(more);
    if settled(&rest) {
        return Ok(way);
    }
    let violation = Violation::new(Law::Liveness, "left in peace, it does not settle");
    Err(Box::new(Found { violation, way }))
}

fn draw_save(device: &Device, dice: &mut Dice, weather: Weather) -> Save {
    if weather == Weather::DiskFull {
        return Save::Fails;
    }
    let faults: Vec<Save> = saves(device).collect();
    match dice.once_in(25) {
        true => dice.pick(&faults).copied().unwrap_or(Save::Works),
        false => Save::Works,
    }
}

fn draw(scenario: &Scenario, device: &Device, dice: &mut Dice, weather: Weather) -> Option<What> {
    let friendly = friendly(scenario, device);
    if weather == Weather::DiskFull {
        let writes = friendly.iter().find_map(|what| {
            if let What::Done(name) = what {
                Some(name.clone()).filter(|name| name.verb.lasts())
            } else {
                None
            }
        });
        if let Some(name) = writes {
            return Some(What::Fail(name, FailureKind::NoSpace, Landing::Nothing));
        }
    }
    let common = dice.below(100);
    if common < 74 && !friendly.is_empty() {
        return dice.pick(&friendly).cloned();
    }
    if common < 80 {
        return pass(device, dice).map(What::Pass).or(Some(What::Wait));
    }
    // Kinds of trouble come equally often, however many ways there are to each.
    let options = options(scenario, device);
    let kinds: [fn(&What) -> bool; 8] = [
        |what| matches!(what, What::Ask(_)),
        |what| matches!(what, What::Ask(_)),
        |what| matches!(what, What::Fail(..) | What::StopFails(_)),
        |what| matches!(what, What::End(..)),
        |what| matches!(what, What::Wait),
        |what| matches!(what, What::StaleReady(_)),
        |what| matches!(what, What::Kill(_)),
        |what| matches!(what, What::Cut(..)),
    ];
    let rare = |index: usize| index > 5;
    let index = dice.below(kinds.len());
    if rare(index) && !dice.once_in(4) {
        return dice.pick(&friendly).cloned();
    }
    let of_kind: Vec<What> = options.into_iter().filter(|what| kinds[index](what)).collect();
    dice.pick(&of_kind).or_else(|| dice.pick(&friendly)).cloned()
}

/// A while that ends before anybody has to be woken.
fn pass(device: &Device, dice: &mut Dice) -> Option<Duration> {
    let agent = device.agent.as_deref()?;
    let ahead = agent.engine.next_wakeup()?.at - agent.now;
    let hundredths = u32::try_from(dice.below(100)).ok()?;
    Some(ahead * hundredths / 100).filter(|length| !length.is_zero())
}

/// A device to live on: 5 to 8 containers in 3 or 4 groups, and three updates of it.
///
/// # Errors
/// A drawn state is refused: a bug of the drawing.
pub fn scenario(seed: u64) -> Result<Scenario, String> {
    let mut dice = Dice::new(seed ^ 0x5EED);
    let loader = [Loader::Kernel, Loader::StandIn, Loader::Absent][dice.below(3)];
    let mut plan = Plan::draw(&mut dice);
    let mut scenario = Scenario::new(&format!("random-{seed}"), loader).with("0", &plan.state().json())?;
    let names = ["locals/one", "locals/two", "locals/three"];
    for name in names {
        plan.change(&mut dice);
        let state = plan.state().json();
        scenario = if dice.once_in(3) {
            scenario.with_posted(name, &state)?
        } else {
            scenario.with(name, &state)?
        };
    }
    for name in names.into_iter().chain(["0"]) {
        let id: model::ids::RevisionId = name.parse().map_err(|error| format!("{error}"))?;
        scenario.asks.extend([
            Ask::Run(id.clone()),
            Ask::Run(id.clone()),
            Ask::RunForced(id.clone()),
            Ask::Post(id.clone()),
            Ask::TryOnce(id.clone()),
            Ask::MakeFactory(Some(id)),
        ]);
    }
    for container in &plan.containers {
        let name: model::ids::ContainerName = container.name.parse().map_err(|error| format!("{error}"))?;
        let controls = [Control::Start, Control::Stop, Control::Restart];
        scenario.asks.extend(controls.map(|control| Ask::Control(name.clone(), control)));
    }
    let stops = [AfterShutdown::End, AfterShutdown::Restart, AfterShutdown::Reboot].map(Ask::ShutDown);
    scenario.asks.extend(stops.into_iter().chain([Ask::Collect, Ask::MakeFactory(None)]));
    scenario.failures = vec![FailureKind::Permanent, FailureKind::Transient, FailureKind::NoSpace];
    let many = u8::MAX;
    scenario.faults = Faults {
        cuts: many,
        kills: many,
        saves: many,
        effects: many,
        ends: many,
        stalls: many,
        asks: many,
        stale: many,
    };
    Ok(scenario)
}

/// A state while it is being drawn.
#[derive(Debug, Clone)]
struct Plan {
    groups: Vec<(String, &'static str, String)>,
    containers: Vec<Drawn>,
    device: u32,
    added: u32,
}

#[derive(Debug, Clone)]
struct Drawn {
    name: String,
    group: usize,
    version: u32,
    more: String,
}

impl Plan {
    fn draw(dice: &mut Dice) -> Plan {
        let groups = 3 + dice.below(2);
        let goals = ["STARTED", "READY", "STARTED", "MOUNTED"];
        let group = |index: usize, dice: &mut Dice| {
            let more = format!(r#","timeout":{}{}"#, 5 + dice.below(40), recovery(dice));
            (format!("group{index}"), dice.word(&goals), more)
        };
        let groups: Vec<_> = (0..groups).map(|index| group(index, dice)).collect();
        let mut plan = Plan { groups, containers: Vec::new(), device: 0, added: 0 };
        for index in 0..5 + dice.below(4) {
            plan.add(format!("c{index}"), dice);
        }
        plan
    }

    fn add(&mut self, name: String, dice: &mut Dice) {
        let group = dice.below(self.groups.len());
        let more = container_more(dice);
        self.containers.push(Drawn { name, group, version: 1, more });
    }

    /// Becomes the next update: most change a container or two, some more than that.
    fn change(&mut self, dice: &mut Dice) {
        for _ in 0..=dice.below(2) {
            let index = dice.below(self.containers.len());
            self.containers[index].version += 1;
        }
        match dice.below(8) {
            0 => self.device += 1,
            1 => {
                let index = dice.below(self.containers.len());
                self.containers[index].more = container_more(dice);
            }
            2 if self.containers.len() > 4 => {
                let index = dice.below(self.containers.len());
                self.containers.remove(index);
            }
            3 => {
                self.added += 1;
                self.add(format!("d{}", self.added), dice);
            }
            _ => {}
        }
    }

    fn state(&self) -> State {
        let state = State::default().device(self.device);
        let state = self.groups.iter().fold(state, |state, (name, goal, more)| state.group(name, goal, more));
        self.containers.iter().fold(state, |state, it| {
            state.container(&it.name, &self.groups[it.group].0, it.version, &it.more)
        })
    }
}

fn container_more(dice: &mut Dice) -> String {
    let goal = match dice.below(4) {
        0 => r#","status_goal":"READY""#,
        1 => r#","status_goal":"STARTED""#,
        _ => "",
    };
    let restart = if dice.once_in(6) { r#","restart_policy":"system""# } else { "" };
    let lifetime = if dice.once_in(8) { r#","lifetime":"once""# } else { "" };
    let timeout = if dice.once_in(4) { r#","goal_timeout":7"# } else { "" };
    let recovery = if dice.once_in(2) { recovery(dice) } else { String::new() };
    format!("{goal}{restart}{lifetime}{timeout}{recovery}")
}

fn recovery(dice: &mut Dice) -> String {
    if dice.once_in(4) {
        return String::new();
    }
    let policy = dice.word(&["no", "always", "on-failure", "on-failure", "unless-stopped"]);
    let backoff = dice.word(&["reboot", "never", "30s", "never"]);
    let ladder = if dice.once_in(3) { r#","ladder":[1,2,5]"# } else { "" };
    format!(
        r#","auto_recovery":{{"policy":"{policy}","max_retries":{},"retry_delay":{},"backoff_factor":{}.5,"reset_window":{},"stable_timeout":{},"backoff_policy":"{backoff}"{ladder}}}"#,
        dice.below(4),
        dice.below(3),
        1 + dice.below(2),
        dice.below(2) * 20,
        dice.below(3) * 4,
    )
}
