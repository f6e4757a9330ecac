//! Knowledge with the patients that are at hand: published ones where `DXLAB_DATA` has them, else synthetic ones.
use super::knowledge::Knowledge;
use super::library::{Library, Patient, Unread};
use super::open_data::OpenData;
use super::orphadata;
use super::synthetic::{Generator, PatientSettings};
use crate::corpus::phenopacket::Packets;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Diseases that synthetic patients are drawn of.
const DISEASES: usize = 300;

/// See the file's header.
pub struct AtHand {
    /// Its patients are all that have a disease.
    pub library: Library,
    pub open: OpenData,
    /// True where the patients are synthetic ones.
    pub synthetic: bool,
    /// Signs of the published patients that could not be read as they are.
    pub unread: Unread,
}

impl AtHand {
    /// What `make tools` installed, with the patients of `DXLAB_DATA`.
    pub fn open() -> Result<Self> {
        let data = std::env::var_os("DXLAB_DATA").filter(|path| !path.is_empty()).map(PathBuf::from);
        Self::of(Knowledge::installed()?, data.as_deref())
    }

    /// Of a knowledge base and a folder of open data. A folder that is not there is an error; one without phenopacket-store gives synthetic
    /// patients, which is said.
    pub fn of(mut knowledge: Knowledge, data: Option<&Path>) -> Result<Self> {
        if let Some(missing) = data.filter(|data| !data.is_dir()) {
            return Err(Error::input(format!("DXLAB_DATA is {}: no such folder", missing.display())));
        }
        let orphadata = data.map(|data| data.join("orphadata").join(orphadata::FILE)).filter(|path| path.is_file());
        if let Some(path) = orphadata {
            orphadata::Product4::read(&path)?.add_to(&mut knowledge);
        }
        let mut library = Library::of(knowledge);
        let open = data.map_or_else(|| Ok(OpenData::default()), OpenData::read)?;
        open.link(&mut library);
        let (patients, unread, synthetic) = match data.filter(|data| data.join("phenopacket-store").is_dir()) {
            Some(data) => {
                let (patients, unread) = library.patients_of(&Packets::store(data)?.packets);
                (patients, unread, false)
            }
            None => {
                if let Some(data) = data {
                    let store = data.join("phenopacket-store");
                    crate::process::tell(&format!("{}: no such folder: the patients are synthetic", store.display()));
                }
                (synthetic(&library)?, Unread::default(), true)
            }
        };
        library.patients = patients.into_iter().filter(|one| !one.diseases.is_empty()).collect();
        Ok(Self { library, open, synthetic, unread })
    }
}

/// Patients drawn from the annotations, a few diseases frequent and many rare: 12, 6, 4, 3, 3, 2, 2, … of each. Every patient is a
/// publication of its own.
fn synthetic(library: &Library) -> Result<Vec<Patient>> {
    let generator = Generator::new(library, PatientSettings::default())?;
    let mut diseases = generator.drawable();
    diseases.sort_by_cached_key(|&at| crate::io::digest_bytes(library.candidates[at].id.as_bytes()));
    diseases.truncate(DISEASES);
    let patients = |(i, at): (usize, usize)| (0..(12 / (1 + i / 20)).max(2)).map(move |n| (at, n));
    let drawn = diseases.into_iter().enumerate().flat_map(patients);
    Ok(drawn.map(|(at, n)| generator.patient(at, n)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::knowledge::tests::small;
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_an_error_and_not_a_reason_for_synthetic_patients() {
        let error = AtHand::of(small(), Some(Path::new("no/such/folder"))).err().unwrap().to_string();
        assert!(error.contains("DXLAB_DATA is no/such/folder: no such folder"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        assert!(AtHand::of(small(), Some(empty.path())).unwrap().synthetic);
        assert!(AtHand::of(small(), None).unwrap().synthetic);
    }
}
