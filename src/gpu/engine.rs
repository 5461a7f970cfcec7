//! The GPU engine: hands steps to the device, many to a submission, and reads their metrics a submission late.

use std::collections::VecDeque;

use wgpu::{BindGroup, Buffer, CommandEncoder};

use super::adapter::Gpu;
use super::buffers::{self, Buffers};
use super::builder::{Builder, Pipelines};
use super::curve::CurvePrograms;
use super::dataset::{PartData, upload};
use super::kernels::Coefficients;
use super::program::Op;
use super::reach;
use super::readback::{Pending, read_words};
use super::room::Room;
use super::step::{EvalProgram, Predictor, Projected, StepProgram};
use super::tune::{Measuring, Tuner};
use crate::data::Part;
use crate::engine::{Allocation, Checked, Forms, Layout, LossWeights, Setup, Slot, StepMetrics};
use crate::error::Result;
use crate::optimizer::Optimizer;

/// The options of the engine: how it uses its device.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The bytes of device memory that may be taken; the data set is streamed when it does not fit beside the rest.
    /// Default: what the device has.
    pub memory: Option<u64>,
    /// The bytes of the largest buffer of records, for tests. Default: the adapter's limit.
    pub record_buffer: Option<u64>,
    /// The forms of the matrix products to use, measured before or recorded, if they are of this adapter. Default: none.
    pub forms: Forms,
    /// Whether products that `forms` lacks are measured, in a second or two. Default: they get the built-in form.
    pub measure: bool,
    /// The function that is told of each product that is measured, and of each form that does not work on the adapter.
    /// Default: nobody is told.
    pub tell: Option<Measuring>,
}

/// The engine that trains on a GPU, in f32 or in mixed precision ([`Precision::Mixed`](crate::engine::Precision)).
pub struct GpuEngine {
    pub(super) setup: Setup,
    pub(super) layout: Layout,
    pub(super) buffers: Buffers,
    pub(super) pipelines: Pipelines,
    /// The bind group 1 of every dispatch: the pass and the coefficients.
    pub(super) group: BindGroup,
    /// The parts of the data set on the device; none for a part that is not there.
    parts: [Option<PartData>; 3],
    /// The buffer that streamed records pass through; none where all records lie on the device.
    pub(super) stream: Option<Buffer>,
    /// The dispatches of training steps; none in an engine for evaluation alone.
    pub(super) train: Option<StepProgram>,
    /// The dispatches of forward pass and loss without dropout and augmentation; empty until they are asked for.
    pub(super) plain: Vec<Op>,
    /// The dispatches of the gradient of the evaluated loss; empty until they are asked for.
    pub(super) slope: Vec<Op>,
    /// Those of products of its second derivatives.
    pub(super) curve: Option<CurvePrograms>,
    /// What the first layer makes of a part, where that was asked for.
    pub(super) projected: Option<Projected>,
    /// The dispatches of an evaluation of each part of the data set.
    pub(super) eval: [Option<EvalProgram>; 3],
    /// The predictors that were asked for: one for pixels, one for numbers.
    pub(super) predictors: Vec<Predictor>,
    /// The dispatches that put the live weights, and those that are evaluated, into the working copy that the products
    /// read; only under mixed precision.
    to_half: Option<[Op; 2]>,
    /// How much the training samples count in the loss; none where all count alike.
    pub(super) loss_weights: Option<LossWeights>,
    /// The orders of the epoch, where records are streamed or some samples count more than others.
    pub(super) orders: Vec<Vec<u32>>,
    /// What is each replica's own in every step, and its optimizer.
    pub(super) own: Vec<(Coefficients, Optimizer)>,
    /// The number of replicas that take part, the first ones.
    pub(super) active: usize,
    /// The submissions whose metrics have not been read, the oldest first.
    pub(super) pending: VecDeque<Pending>,
    /// The metrics that arrived while nobody asked for them.
    pub(super) early: Vec<StepMetrics>,
    /// The buffers for metrics that are free to be used again.
    pub(super) spare: Vec<Buffer>,
    /// The name and size of every buffer that was allocated.
    pub(super) taken: Vec<Allocation>,
    /// The memory that all of them may take.
    pub(super) room: Room,
    /// The forms of the matrix products in use.
    pub(super) forms: Forms,
    /// Whether the working copy of the weights is that of the live ones.
    pub(super) is_working_current: bool,
    pub(super) gpu: Gpu,
}

impl GpuEngine {
    /// An engine whose weights are all 0.
    ///
    /// # Errors
    /// A setup whose loss, model and data set do not go together; [`Error::DeviceMemory`](crate::Error::DeviceMemory).
    #[allow(clippy::new_ret_no_self, reason = "nobody gets an engine that is not checked")]
    pub fn new(gpu: Gpu, setup: Setup, options: Options) -> Result<Checked<Self>> {
        setup.check(f64::from(f32::MAX))?;
        let setup = setup.fitted(Some(buffers::eval_rows(&setup, &gpu.description)));
        reach::check(&gpu, &setup)?;
        let layout = Layout::new(&setup.model);
        let room = Room::new(&gpu.description, options.memory.unwrap_or(u64::MAX));
        room.check(&setup)?;
        let mut taken = Vec::new();
        let buffers = Buffers::new(&gpu, &setup, &layout, &mut taken);
        let buffers = buffers.map_err(|error| room.advised(error, &setup, &taken))?;
        buffers.fill(&gpu, &setup);
        let placed = upload(&gpu, &setup, room.for_records(&setup), options.record_buffer, &mut taken);
        let (parts, stream) = placed.map_err(|error| room.advised(error, &setup, &taken))?;
        let pipelines = Pipelines::new(&gpu);
        let tuner = Tuner::new(&options.forms, &gpu.description.to_string(), options.measure, options.tell)?;
        let builder = Builder::new(&gpu, &setup, &layout, &buffers, &pipelines, tuner);
        let streamed = stream.as_ref().unwrap_or(&buffers.unused[0]);
        let train = match &parts[Part::Train as usize] {
            Some(part) if !setup.evaluation_only => {
                Some(builder.step_program(&part.feed(&setup, streamed).of_training(&buffers.order, part))?)
            }
            _ => None,
        };
        let mut eval = [const { None }; 3];
        for (program, part) in eval.iter_mut().zip(&parts) {
            *program = part.as_ref().map(|part| builder.eval_program(&part.feed(&setup, streamed))).transpose()?;
        }
        let to_half = setup.is_mixed().then(|| [&buffers.params, &buffers.eval_params].map(|w| builder.to_half(w)));
        let (group, forms) = (builder.step(), builder.into_forms());
        gpu.check()?;
        Ok(Checked::new(Self {
            loss_weights: LossWeights::of(&setup),
            own: setup.alone().enumerate().map(|(r, own)| (Coefficients::own(&own, r), own.optimizer)).collect(),
            active: setup.replicas,
            setup,
            layout,
            buffers,
            pipelines,
            group,
            parts,
            stream,
            train,
            plain: Vec::new(),
            slope: Vec::new(),
            curve: None,
            projected: None,
            eval,
            predictors: Vec::new(),
            to_half,
            orders: Vec::new(),
            pending: VecDeque::new(),
            early: Vec::new(),
            spare: Vec::new(),
            taken,
            room,
            forms,
            is_working_current: false,
            gpu,
        }))
    }

    /// An engine with every form of its products measured, as after a user's first runs: each measures for a second or
    /// two, and the next one goes on. It is there for measuring the engine beside others; `open` gives the adapter,
    /// once for each of these runs.
    ///
    /// # Errors
    /// What [`new`](Self::new) and `open` refuse.
    pub fn tuned(open: impl Fn() -> Result<Gpu>, setup: &Setup) -> Result<Checked<Self>> {
        let mut forms = Forms::default();
        loop {
            let options = Options { forms: forms.clone(), measure: true, ..Options::default() };
            let engine = Self::new(open()?, setup.clone(), options)?;
            let known = forms.products.len();
            let measured = engine.inner().forms.products.clone().into_iter().filter(|(_, c)| c.microseconds.is_some());
            forms.products.extend(measured);
            if forms.products.len() == known {
                return Ok(engine);
            }
        }
    }

    /// The builder of more dispatches, with the forms that the engine has.
    pub(super) fn builder(&self) -> Result<Builder<'_>> {
        let tuner = Tuner::settled(&self.forms)?;
        Ok(Builder::new(&self.gpu, &self.setup, &self.layout, &self.buffers, &self.pipelines, tuner))
    }

    pub(super) fn part(&self, part: Part) -> Option<&PartData> {
        self.parts[part as usize].as_ref()
    }

    /// The dispatches of training steps.
    pub(super) fn program(&self) -> Result<&StepProgram> {
        self.train.as_ref().ok_or_else(|| self.setup.dataset.missing(Part::Train))
    }

    /// The buffer of streamed records, or one that stands in its place.
    pub(super) fn streamed(&self) -> &Buffer {
        self.stream.as_ref().unwrap_or(&self.buffers.unused[0])
    }

    pub(super) fn is_streamed(&self) -> bool {
        self.stream.is_some()
    }

    pub(super) fn encoder(&self) -> CommandEncoder {
        self.gpu.device.create_command_encoder(&Default::default())
    }

    pub(super) fn read(&self, buffer: &Buffer, offset: u64, bytes: u64) -> Result<Vec<f32>> {
        Ok(read_words(&self.gpu, buffer, offset, bytes)?.into_iter().map(f32::from_bits).collect())
    }

    /// The dispatch that puts the live weights, or those that are evaluated, where the products read them; none where these
    /// read the weights themselves.
    pub(super) fn working_op(&self, is_evaluated: bool) -> Option<&Op> {
        self.to_half.as_ref().map(|ops| &ops[usize::from(is_evaluated)])
    }

    fn write_working(&self, is_evaluated: bool) {
        let mut recorder = self.recorder();
        recorder.dispatch(self.working_op(is_evaluated).as_slice(), 0, 0);
        recorder.submit();
    }

    /// Puts the live weights where the products read them, unless they are there.
    pub(super) fn renew_working(&mut self) {
        if self.to_half.is_some() && !self.is_working_current {
            self.write_working(false);
        }
        self.is_working_current = true;
    }

    /// Puts the weights in `slot` where evaluations read them.
    pub(super) fn load(&mut self, slot: Slot) -> Result<()> {
        self.copy_vectors(self.buffers.slot(slot)?, (&self.buffers.eval_params, 0));
        self.write_own();
        if self.to_half.is_some() {
            self.write_working(true);
        }
        self.is_working_current = false;
        Ok(())
    }
}
