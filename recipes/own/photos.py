"""Your own photographs: a few hundred, in a folder a class, on a network that is trained on ImageNet.

MobileNetV2 ×1.0 begins with the weights of `keras.applications` and a new classifier, whose learning rate is
ten times that of the rest. Shift-and-Balance is attached with λ = 0, and learns as fast as the classifier:
the network is the trained one until λ has learned otherwise. The trained network's normalizations stay as
they are and normalize by their averages (`model.freeze`), as Keras's guide to transfer learning has it: the
statistics of 32 pictures at a time would spoil what is known. AdamW, warm-up for one epoch, learning rate
falling to 0 on a cosine, batches of 32. Training pictures are cropped, mirrored and changed in color; every
class weighs the same in the loss, however many pictures it has. A tenth of the training pictures are held
out, and after ten epochs without a better accuracy on them the training ends with the best weights.

The weights are downloaded once (14 MB); without a network, `model.weights` takes the path of the file.

    python -m recipes.train photos-mobilenetv2-sb --set data.directory=MY_PICTURES --run-dir runs/photos
"""

import sb_keras
from recipes.recipe import Data, Model, Optimizer, Recipe

KINDS = {"static": sb_keras.Attention("static"), "sb": sb_keras.Attention("sb", lambda_init=0.0)}

RECIPES = tuple(
    Recipe(
        name=f"photos-mobilenetv2-{kind}",
        model=Model("MobileNetV2", 1.0, attention, dropout=0.2, weights="imagenet", freeze="batch_norm"),
        data=Data(
            name="image_folder",
            image_size=160,
            augmentation="random_resized_crop",
            pad=0,
            color_jitter=0.2,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        optimizer=Optimizer(
            name="adamw",
            learning_rate=1e-4,
            head_learning_rate=1e-3,
            attention_learning_rate=1e-3 if kind == "sb" else None,
            weight_decay=0.05,
            schedule="cosine",
            warmup_epochs=1,
        ),
        batch_size=32,
        epochs=20,
        label_smoothing=0.1,
        class_weights="balanced",
        early_stopping_epochs=10,
    )
    for kind, attention in KINDS.items()
)
