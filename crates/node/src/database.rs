//! The database for JavaScript: `Database` of src/native.ts without its types. Rows cross as JSON, which V8 parses
//! faster than an object can be built property by property across the border.

use std::cell::RefCell;
use std::path::Path;

use kapsel_state::{AddressWanted, Database as State, EventFilter, LayerSource, Port, PortWanted, Status};
use napi_derive::napi;
use serde::{Deserialize, Serialize};

use crate::outcome::{Failure, Outcome};

/// A connection to an engine's state.
#[napi]
pub struct Database {
    state: RefCell<Option<State>>,
}

#[derive(Deserialize)]
struct ContainerFilter {
    #[serde(default)]
    status: Vec<Status>,
}

#[derive(Deserialize)]
struct Wanted {
    addresses: Vec<AddressWanted>,
    ports: Vec<PortWanted>,
}

/// `kapsel_state::now`: JavaScript's Date has milliseconds, and costs more.
#[napi]
pub fn now() -> String {
    kapsel_state::now()
}

/// Opens the database, making it where there is none.
#[napi]
pub fn open_database(path: String) -> Outcome<Database> {
    State::open(Path::new(&path)).map(|state| Database { state: RefCell::new(Some(state)) }).into()
}

impl Database {
    fn with<T>(&self, call: impl FnOnce(&mut State) -> Result<T, Failure>) -> Outcome<T> {
        let mut state = self.state.borrow_mut();
        Outcome(match state.as_mut() {
            Some(state) => call(state),
            None => Err(Failure::invalid("the database is closed")),
        })
    }

    fn query<T: Serialize>(
        &self,
        call: impl FnOnce(&mut State) -> kapsel_state::Result<T>,
    ) -> Outcome<String> {
        self.with(|state| Ok(serde_json::to_string(&call(state)?)?))
    }

    fn change<T>(&self, call: impl FnOnce(&mut State) -> kapsel_state::Result<T>) -> Outcome<T> {
        self.with(|state| Ok(call(state)?))
    }
}

#[napi]
impl Database {
    /// Later calls fail.
    #[napi]
    pub fn close(&self) {
        self.state.borrow_mut().take();
    }

    /// `kapsel_state::Database::insert_container`.
    #[napi]
    pub fn insert_container(&self, json: String) -> Outcome<()> {
        self.with(|state| Ok(state.insert_container(&serde_json::from_str(&json)?)?))
    }

    /// `kapsel_state::Database::container`.
    #[napi]
    pub fn container(&self, reference: String) -> Outcome<String> {
        self.query(|state| state.container(&reference))
    }

    /// `kapsel_state::Database::containers`.
    #[napi]
    pub fn containers(&self, json: String) -> Outcome<String> {
        self.with(|state| {
            let filter: ContainerFilter = serde_json::from_str(&json)?;
            Ok(serde_json::to_string(&state.containers(&filter.status)?)?)
        })
    }

    /// `kapsel_state::Database::starting`.
    #[napi]
    pub fn starting(&self, id: String) -> Outcome<()> {
        self.change(|state| state.starting(&id))
    }

    /// `kapsel_state::Database::started`.
    #[napi]
    pub fn started(&self, id: String, pid: i64, at: String) -> Outcome<bool> {
        self.change(|state| state.started(&id, pid, &at))
    }

    /// `kapsel_state::Database::paused`.
    #[napi]
    pub fn paused(&self, id: String) -> Outcome<()> {
        self.change(|state| state.paused(&id))
    }

    /// `kapsel_state::Database::unpaused`.
    #[napi]
    pub fn unpaused(&self, id: String) -> Outcome<()> {
        self.change(|state| state.unpaused(&id))
    }

    /// `kapsel_state::Database::exited`.
    #[napi]
    pub fn exited(&self, id: String, json: String) -> Outcome<bool> {
        self.with(|state| Ok(state.exited(&id, &serde_json::from_str(&json)?)?))
    }

    /// `kapsel_state::Database::rename`.
    #[napi]
    pub fn rename(&self, id: String, name: String) -> Outcome<()> {
        self.change(|state| state.rename(&id, &name))
    }

    /// `kapsel_state::Database::update_document`.
    #[napi]
    pub fn update_document(&self, id: String, json: String) -> Outcome<()> {
        self.with(|state| Ok(state.update_document(&id, &serde_json::from_str(&json)?)?))
    }

    /// `kapsel_state::Database::remove_container`.
    #[napi]
    pub fn remove_container(&self, id: String) -> Outcome<String> {
        self.query(|state| state.remove_container(&id))
    }

    /// `kapsel_state::Database::insert_image`.
    #[napi]
    pub fn insert_image(&self, json: String, action: String) -> Outcome<()> {
        self.with(|state| Ok(state.insert_image(&serde_json::from_str(&json)?, &action)?))
    }

    /// `kapsel_state::Database::image`.
    #[napi]
    pub fn image(&self, reference: String) -> Outcome<String> {
        self.query(|state| state.image(&reference))
    }

    /// `kapsel_state::Database::image_id`.
    #[napi]
    pub fn image_id(&self, reference: String) -> Outcome<Option<String>> {
        self.with(|state| Ok(state.image_id(&reference)?))
    }

    /// `kapsel_state::Database::images`.
    #[napi]
    pub fn images(&self) -> Outcome<String> {
        self.query(|state| state.images())
    }

    /// `kapsel_state::Database::tag`.
    #[napi]
    pub fn tag(&self, reference: String, id: String) -> Outcome<()> {
        self.change(|state| state.tag(&reference, &id))
    }

    /// `kapsel_state::Database::untag`.
    #[napi]
    pub fn untag(&self, reference: String) -> Outcome<()> {
        self.change(|state| state.untag(&reference))
    }

    /// `kapsel_state::Database::remove_image`.
    #[napi]
    pub fn remove_image(&self, id: String, force: bool) -> Outcome<String> {
        self.query(|state| state.remove_image(&id, force))
    }

    /// `kapsel_state::Database::insert_layer`.
    #[napi]
    pub fn insert_layer(&self, json: String) -> Outcome<()> {
        self.with(|state| Ok(state.insert_layer(&serde_json::from_str(&json)?)?))
    }

    /// `kapsel_state::Database::layer`.
    #[napi]
    pub fn layer(&self, diff_id: String) -> Outcome<String> {
        self.query(|state| state.layer(&diff_id))
    }

    /// `kapsel_state::Database::layers`.
    #[napi]
    pub fn layers(&self) -> Outcome<String> {
        self.query(|state| state.layers())
    }

    /// `kapsel_state::Database::insert_layer_sources`.
    #[napi]
    pub fn insert_layer_sources(&self, json: String) -> Outcome<()> {
        self.with(|state| {
            let sources: Vec<LayerSource> = serde_json::from_str(&json)?;
            Ok(state.insert_layer_sources(&sources)?)
        })
    }

    /// `kapsel_state::Database::layer_sources`.
    #[napi]
    pub fn layer_sources(&self, diff_id: String) -> Outcome<String> {
        self.query(|state| state.layer_sources(&diff_id))
    }

    /// `kapsel_state::Database::insert_volume`.
    #[napi]
    pub fn insert_volume(&self, json: String) -> Outcome<bool> {
        self.with(|state| Ok(state.insert_volume(&serde_json::from_str(&json)?)?))
    }

    /// `kapsel_state::Database::volume`.
    #[napi]
    pub fn volume(&self, name: String) -> Outcome<String> {
        self.query(|state| state.volume(&name))
    }

    /// `kapsel_state::Database::volumes`.
    #[napi]
    pub fn volumes(&self) -> Outcome<String> {
        self.query(|state| state.volumes())
    }

    /// `kapsel_state::Database::remove_volume`.
    #[napi]
    pub fn remove_volume(&self, name: String) -> Outcome<()> {
        self.change(|state| state.remove_volume(&name))
    }

    /// `kapsel_state::Database::insert_network`.
    #[napi]
    pub fn insert_network(&self, json: String) -> Outcome<()> {
        self.with(|state| Ok(state.insert_network(&serde_json::from_str(&json)?)?))
    }

    /// `kapsel_state::Database::network`.
    #[napi]
    pub fn network(&self, reference: String) -> Outcome<String> {
        self.query(|state| state.network(&reference))
    }

    /// `kapsel_state::Database::networks`.
    #[napi]
    pub fn networks(&self) -> Outcome<String> {
        self.query(|state| state.networks())
    }

    /// `kapsel_state::Database::remove_network`.
    #[napi]
    pub fn remove_network(&self, id: String) -> Outcome<()> {
        self.change(|state| state.remove_network(&id))
    }

    /// `kapsel_state::Database::insert_endpoint`.
    #[napi]
    pub fn insert_endpoint(&self, json: String) -> Outcome<()> {
        self.with(|state| Ok(state.insert_endpoint(&serde_json::from_str(&json)?)?))
    }

    /// `kapsel_state::Database::endpoints_of_container`.
    #[napi]
    pub fn endpoints_of_container(&self, container_id: String) -> Outcome<String> {
        self.query(|state| state.endpoints_of_container(&container_id))
    }

    /// `kapsel_state::Database::endpoints_of_network`.
    #[napi]
    pub fn endpoints_of_network(&self, network_id: String) -> Outcome<String> {
        self.query(|state| state.endpoints_of_network(&network_id))
    }

    /// `kapsel_state::Database::remove_endpoint`.
    #[napi]
    pub fn remove_endpoint(&self, network_id: String, container_id: String) -> Outcome<()> {
        self.change(|state| state.remove_endpoint(&network_id, &container_id))
    }

    /// `kapsel_state::Database::lease`; JSON of `{addresses, ports}`.
    #[napi]
    pub fn lease(&self, container_id: String, json: String) -> Outcome<String> {
        self.with(|state| {
            let Wanted { addresses, ports } = serde_json::from_str(&json)?;
            Ok(serde_json::to_string(&state.lease(&container_id, &addresses, &ports)?)?)
        })
    }

    /// `kapsel_state::Database::ports`.
    #[napi]
    pub fn ports(&self, container_id: String) -> Outcome<String> {
        self.query(|state| state.ports(&container_id))
    }

    /// `kapsel_state::Database::release_ports`.
    #[napi]
    pub fn release_ports(&self, container_id: String, json: String) -> Outcome<()> {
        self.with(|state| {
            let ports: Vec<Port> = serde_json::from_str(&json)?;
            Ok(state.release_ports(&container_id, &ports)?)
        })
    }

    /// `kapsel_state::Database::append_event`.
    #[napi]
    pub fn append_event(&self, json: String) -> Outcome<()> {
        self.with(|state| Ok(state.append_event(&serde_json::from_str(&json)?)?))
    }

    /// `kapsel_state::Database::events`.
    #[napi]
    pub fn events(&self, json: String) -> Outcome<String> {
        self.with(|state| {
            let filter: EventFilter = serde_json::from_str(&json)?;
            Ok(serde_json::to_string(&state.events(&filter)?)?)
        })
    }

    /// `kapsel_state::Database::reconcile`.
    #[napi]
    pub fn reconcile(&self, run_root: String) -> Outcome<String> {
        self.query(|state| state.reconcile(Path::new(&run_root)))
    }
}
