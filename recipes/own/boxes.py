"""Your own pictures with boxes: a few hundred, on a detector whose backbone is trained on ImageNet.

SSDLite on MobileNetV2 ×1.0, whose backbone begins with the weights of `keras.applications`; heads and extra
layers are new, and learn ten times as fast. Shift-and-Balance is attached with λ = 0: the backbone is the
trained one until λ has learned otherwise. AdamW, warm-up for one epoch, learning rate falling to 0 on a
cosine, SSD's augmentation, batches of 16.

`data.name` is what the labelling tool writes: `voc_folder` (LabelImg, CVAT), `coco` (CVAT, Label Studio,
Roboflow), `yolo` (Ultralytics) or `csv` (TFLite Model Maker). The weights are downloaded once (14 MB);
without a network, `model.weights` takes the path of the file.

    python -m recipes.train boxes-ssdlite-mobilenetv2-sb --set data.directory=MY_PICTURES --run-dir runs/boxes
"""

import sb_keras
from recipes.recipe import Data, Model, Optimizer, Recipe

KINDS = {"static": sb_keras.Attention("static"), "sb": sb_keras.Attention("sb", lambda_init=0.0)}

RECIPES = tuple(
    Recipe(
        name=f"boxes-ssdlite-mobilenetv2-{kind}",
        model=Model("SSDLite", 1.0, attention, weights="imagenet"),
        data=Data(
            name="voc_folder",
            image_size=320,
            augmentation="ssd",
            pad=0,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        optimizer=Optimizer(
            name="adamw",
            learning_rate=2e-4,
            head_learning_rate=2e-3,
            weight_decay=0.05,
            schedule="cosine",
            warmup_epochs=1,
        ),
        batch_size=16,
        epochs=40,
    )
    for kind, attention in KINDS.items()
)
