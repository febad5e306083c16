//! A dense array of `f32` with its shape.

/// A dense row-major array of `f32`.
///
/// Shape: the last dimension is contiguous; a matrix is `[outputs, inputs]`. The element count of
/// `shape` equals `data.len()`; [`Tensor::new`] checks it, and the writer of checkpoints checks it
/// again for tensors made by hand.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensor {
    /// Length of each dimension, outermost first.
    pub shape: Vec<usize>,
    /// The elements, last dimension contiguous.
    pub data: Vec<f32>,
}

/// A shape whose element count is not the number of elements given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shape {shape:?} does not hold {elements} elements: give as many as the shape says")]
pub struct TensorShapeMismatch {
    /// The shape asked for.
    pub shape: Vec<usize>,
    /// How many elements were given.
    pub elements: usize,
}

impl Tensor {
    /// A tensor of the given shape and elements.
    ///
    /// Errors: [`TensorShapeMismatch`] if the shape does not hold exactly these elements.
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Result<Self, TensorShapeMismatch> {
        if element_count(&shape) == Some(data.len()) {
            Ok(Self { shape, data })
        } else {
            Err(TensorShapeMismatch { shape, elements: data.len() })
        }
    }

    /// A tensor of zeros, or nothing if the shape holds more elements than the machine can address.
    pub fn zeros(shape: Vec<usize>) -> Option<Self> {
        let elements = element_count(&shape)?;
        Some(Self { shape, data: vec![0.0; elements] })
    }

    /// Whether the element count of the shape is the number of elements.
    pub fn is_consistent(&self) -> bool {
        element_count(&self.shape) == Some(self.data.len())
    }

    /// The position of the first element that is infinite or not a number.
    pub fn first_non_finite(&self) -> Option<usize> {
        self.data.iter().position(|value| !value.is_finite())
    }
}

/// How many elements a shape holds, or nothing on overflow.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |count, &length| count.checked_mul(length))
}
